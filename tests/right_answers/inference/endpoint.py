"""Right answers by leading bits, by an automaton and by trying."""


def half_character(tokens):
    pieces, open_bytes, missing = [], [], 0
    for token in tokens:
        piece = ""
        for byte in token:
            if missing:
                missing -= 1
            else:  # the leading ones say how long a character is
                ones = f"{byte:08b}".index("0")
                missing = max(ones - 1, 0)
            open_bytes.append(byte)
            if not missing:
                piece += bytes(open_bytes).decode()
                open_bytes = []
        pieces.append(piece)
    return pieces


def stop_string(pieces, stop):
    # Knuth, Morris and Pratt: how far a match falls back on a wrong letter
    falls = [0]
    for i in range(1, len(stop)):
        n = falls[-1]
        while n and stop[i] != stop[n]:
            n = falls[n - 1]
        falls.append(n + (stop[i] == stop[n]))
    sent, held, found = [], "", False
    for piece in pieces:
        out = ""
        for letter in "" if found else piece:
            n = len(held)
            while n and letter != stop[n]:
                n = falls[n - 1]
            held += letter
            n += letter == stop[n]
            cut = len(held) - n
            out, held = out + held[:cut], held[cut:]
            if n == len(stop):
                found, held = True, ""
                break
        sent.append(out)
    return [*sent, held]


def how_many_cards(weights, user, users, card, share):
    cards = 1
    while any(cards * share * card < weights + k * user for k in (0, users)):
        cards *= 2
    return cards
