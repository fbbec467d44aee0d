"""Text that is hard on a tokenizer, and one sentence in many languages.

`ARTICLE_1` is the beginning of the Universal Declaration of Human Rights
(United Nations, 1948, public domain) in the languages of 24 scripts, some of
them cut after the first sentence. `HARD` holds what breaks tokenizers. Left
out: any claim that the two are a sample of the world's text.
"""

ARTICLE_1 = {
    "English": (
        "All human beings are born free and equal in dignity and rights. "
        "They are endowed with reason and conscience and should act "
        "towards one another in a spirit of brotherhood."
    ),
    "French": (
        "Tous les êtres humains naissent libres et égaux en dignité et "
        "en droits. Ils sont doués de raison et de conscience et doivent "
        "agir les uns envers les autres dans un esprit de fraternité."
    ),
    "German": (
        "Alle Menschen sind frei und gleich an Würde und Rechten "
        "geboren. Sie sind mit Vernunft und Gewissen begabt und sollen "
        "einander im Geist der Brüderlichkeit begegnen."
    ),
    "Spanish": (
        "Todos los seres humanos nacen libres e iguales en dignidad y "
        "derechos y, dotados como están de razón y conciencia, deben "
        "comportarse fraternalmente los unos con los otros."
    ),
    "Finnish": (
        "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja "
        "oikeuksiltaan. Heille on annettu järki ja omatunto, ja heidän "
        "on toimittava toisiaan kohtaan veljeyden hengessä."
    ),
    "Turkish": (
        "Bütün insanlar hür, haysiyet ve haklar bakımından eşit "
        "doğarlar. Akıl ve vicdana sahiptirler ve birbirlerine karşı "
        "kardeşlik zihniyeti ile hareket etmelidirler."
    ),
    "Swahili": (
        "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa. Wote "
        "wamejaliwa akili na dhamiri, hivyo yapasa watendeane kindugu."
    ),
    "Vietnamese": (
        "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân "
        "phẩm và quyền. Mọi con người đều được tạo hoá ban cho lý trí và "
        "lương tâm và cần phải đối xử với nhau trong tình bằng hữu."
    ),
    "Russian": (
        "Все люди рождаются свободными и равными в своем достоинстве и "
        "правах. Они наделены разумом и совестью и должны поступать в "
        "отношении друг друга в духе братства."
    ),
    "Greek": (
        "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην "
        "αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με λογική και "
        "συνείδηση, και οφείλουν να συμπεριφέρονται μεταξύ τους με "
        "πνεύμα αδελφοσύνης."
    ),
    "Armenian": (
        "Բոլոր մարդիկ ծնվում են ազատ ու հավասար իրենց արժանապատվությամբ "
        "ու իրավունքներով։ Նրանք ունեն բանականություն ու խիղճ և միմյանց "
        "պետք է եղբայրաբար վերաբերվեն։"
    ),
    "Georgian": (
        "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა "
        "და უფლებებით. მათ მინიჭებული აქვთ გონება და სინდისი და "
        "ერთმანეთის მიმართ უნდა იქცეოდნენ ძმობის სულისკვეთებით."
    ),
    "Hebrew": (
        "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם "
        "חוננו בתבונה ובמצפון, לפיכך חובה עליהם לנהוג איש ברעהו ברוח של "
        "אחווה."
    ),
    "Arabic": (
        "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا "
        "عقلاً وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح الإخاء."
    ),
    "Amharic": (
        "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው። የተፈጥሮ ማስተዋልና ሕሊና "
        "ስላለው አንዱ ሌላውን በወንድማማችነት መንፈስ መመልከት ይገባዋል።"
    ),
    "Hindi": (
        "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात "
        "स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा "
        "की देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव "
        "करना चाहिए।"
    ),
    "Bengali": (
        "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ "
        "করে। তাঁদের বিবেক এবং বুদ্ধি আছে; সুতরাং সকলেরই একে অপরের প্রতি "
        "ভ্রাতৃত্বসুলভ মনোভাব নিয়ে আচরণ করা উচিত।"
    ),
    "Punjabi": (
        "ਸਾਰਾ ਮਨੁੱਖੀ ਪਰਿਵਾਰ ਆਪਣੀ ਮਹਿਮਾ, ਸ਼ਾਨ ਅਤੇ ਹੱਕਾਂ ਦੇ ਪੱਖੋਂ ਜਨਮ ਤੋਂ ਹੀ ਆਜ਼ਾਦ ਹੈ।"
    ),
    "Gujarati": (
        "પ્રતિષ્ઠા અને અધિકારોની દૃષ્ટિએ સર્વ માનવો જન્મથી સ્વતંત્ર અને સમાન હોય છે."
    ),
    "Tamil": (
        "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; அவர்கள் ம"
        "திப்பிலும், உரிமைகளிலும் சமமானவர்கள்."
    ),
    "Telugu": (
        "ప్రతిపత్తిస్వత్వముల విషయమున మానవులెల్లరును జన్మతః స్వతంత్రులును సమానులును నగుదురు."
    ),
    "Kannada": (
        "ಎಲ್ಲಾ ಮಾನವರೂ ಸ್ವತಂತ್ರರಾಗಿಯೇ ಜನಿಸಿದ್ದಾರೆ. ಹಾಗೂ ಘನತೆ ಮತ್ತು ಹಕ್ಕುಗಳಲ್ಲಿ ಸಮಾನರಾಗಿದ್ದಾರೆ."
    ),
    "Malayalam": (
        "മനുഷ്യരെല്ലാവരും തുല്യാവകാശങ്ങളോടും അന്തസ്സോടും സ്വാതന്ത്ര്യത്തോടുംകൂടി ജനിച്ചിട്ടുള്ളവരാണ്."
    ),
    "Sinhala": ("සියලු මනුෂ්‍යයෝ නිදහස්ව උපත ලබා ඇත. ගරුත්වයෙන් හා අයිතිවාසිකම්වලින් සමාන වෙති."),
    "Thai": (
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ "
        "ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดร"
        "ภาพ"
    ),
    "Lao": ("ມະນຸດທຸກຄົນເກີດມາມີກຽດສັກສີ, ສິດທິ, ເສລີພາບ ແລະ ຄວາມສະເໝີພາບເທົ່າທຽມກັນ."),
    "Tibetan": (
        "འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་ཆེ་མཐོངས་དང༌། ཐོབ་"
        "ཐངགི་རང་དབང་འདྲ་མཉམ་དུ་ཡོད་ལ།"
    ),
    "Burmese": (
        "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း၊ "
        "တူညီလွတ်လပ်သော အခွင့်အရေးများဖြင့် လည်းကောင်း၊ မွေးဖွားလာသူများ "
        "ဖြစ်သည်။"
    ),
    "Khmer": ("មនុស្សទាំងអស់កើតមកមានសេរីភាព និងសមភាព ក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ។"),
    "Korean": (
        "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 "
        "동등하다. 인간은 천부적으로 이성과 양심을 부여받았으며 서로 "
        "형제애의 정신으로 행동하여야 한다."
    ),
    "Japanese": (
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利と"
        "について平等である。人間は、理性と良心とを授けられており、互いに"
        "同胞の精神をもって行動しなければならない。"
    ),
    "Chinese": (
        "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以"
        "兄弟关系的精神相对待。"
    ),
}

HARD = {
    "nothing": "",
    "spaces": "a  b   c \t\t d\r\n\r\n  e \n ",
    "spaces that are not ASCII": "a\u00a0b\u2003\u2003c\u3000d\u200be\u1680f",
    "controls": "".join(map(chr, [*range(32), *range(127, 160)])) + "z",
    "separators of Python only": "a\x1cb\x1d \x1ec\x1f d",
    "digits": "1 12 123 1,234.5e-10 ٣٤٥ ४५६ ⅷ ½ ² 一二三 𝟘𝟙",
    "contractions": "I'll he'd they're we've I'm it's don't 'S 'LL ''ve",
    "curly contractions": "I’ll he’d they’re don’t",
    "combining marks": "e\u0301 a\u0308\u0304 Z̴̢̛͓ạ̸l̷̻g̵̫o̶͇ n\u0303",
    "two spellings of one letter": "\u00e9 e\u0301 \u212b \u00c5 A\u030a ﬁ",
    "emoji": "😀👍🏽👨‍👩‍👧‍👦🏳️‍🌈🇫🇷1️⃣ ❤️‍🔥👩🏾‍🚀 \u200d\ufe0f",
    "right to left": "abc \u202eשלום\u202c \u200fمرحبا\u200e 123",
    "code": "def f(x):\n\treturn {'a': x[0]**2, \"b\": f'{x!r}'}  # ok\n\n\n",
    "signs": "!!! ... --- ===>>> $€£¥ @#%^&*()_+ \\\\ //// «» „“ 、。",
    "case": "İstanbul ıI ǅ ẞß ΣΑΣ ŒœǼ ﬀ K",
    "not characters": "a\ufffeb\uffffc\ufffdd\U0010ffffe\ue000f\U000f0000",
    "beyond the first plane": "𐍈𐎀𝒜𝔞𠀀𪛖𫠝𝅘𝅥𝅮 𞤀𞤁 𓀀𓁐",
    "one letter": "a" * 3000,
    "one sign": "-" * 3000,
    "one space": " " * 3000 + "x",
    "one emoji": "😀" * 500,
    "one accent": "e" + "\u0301" * 500,
    "a long word": "Donaudampfschifffahrtselektrizitätenhauptbetriebswerk" * 9,
}
