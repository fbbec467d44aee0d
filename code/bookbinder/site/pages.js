// What the theme leaves undone on a page without a kernel. It ends the site's
// one script, after the theme's.
(function () {
  // a button's spoken name must hold what it shows: the theme's own names
  // leave out the search button's keys and the icons' hidden titles
  function mendRoles() {
    for (const icon of document.querySelectorAll(".theme-switch")) {
      icon.removeAttribute("title");
    }
    for (const button of document.querySelectorAll(".search-button-field")) {
      button.removeAttribute("aria-label");
    }
    // a list whose children are entries of a bibliography, not list items
    for (const list of document.querySelectorAll(".citation-list")) {
      list.removeAttribute("role");
    }
  }

  // a button on each piece of code, for the mouse: a keyboard has forty stops
  // less on its way to the first control
  function addCopyButtons() {
    for (const code of document.querySelectorAll("div.highlight pre")) {
      const button = document.createElement("button");
      button.className = "copybtn o-tooltip--left";
      button.tabIndex = -1;
      button.innerHTML = '<i class="fa-solid fa-copy"></i>';
      set(button, "aria-label", "Copy");
      set(button, "data-tooltip", "Copy");
      button.addEventListener("click", () => copy(code, button));
      code.after(button);
    }
  }

  function copy(code, button) {
    navigator.clipboard.writeText(code.textContent.trimEnd()).then(
      () => say("Copied!", "check"),
      () => say("Failed to copy", "xmark"),
    );
    function say(words, icon) {
      const mark = button.firstElementChild;
      set(button, "data-tooltip", words);
      mark.className = `fa-solid fa-${icon}`;
      setTimeout(() => {
        set(button, "data-tooltip", "Copy");
        mark.className = "fa-solid fa-copy";
      }, 2000);
    }
  }

  // what scrolls sideways fades where it goes on, and takes the keyboard;
  // nothing else stops it
  const SCROLLERS = "main :is(.scrolls, .pst-scrollable-table-container)";

  function openScrollers() {
    for (const node of document.querySelectorAll(SCROLLERS)) {
      if (node.scrollWidth > node.clientWidth + 1) {
        node.tabIndex = 0;
        node.onscroll = () => fade(node);
        fade(node);
      } else {
        node.removeAttribute("tabindex");
        node.removeAttribute("data-more");
      }
    }
  }

  function fade(node) {
    const left = node.scrollLeft > 1;
    const right = node.scrollLeft + node.clientWidth < node.scrollWidth - 1;
    set(node, "data-more", `${left ? "left" : ""} ${right ? "right" : ""}`);
  }

  function set(node, attribute, value) {
    if (node.getAttribute(attribute) !== value) {
      node.setAttribute(attribute, value);
    }
  }

  // a search shows where it found a word: in the text, each formula once
  function mendSearch() {
    if (typeof Search === "undefined") return;
    const plain = Search.htmlToText;
    Search.htmlToText = (text, anchor) => {
      const page = new DOMParser().parseFromString(text, "text/html");
      for (const node of page.querySelectorAll(".katex-html, .nosearch")) {
        node.remove();
      }
      return plain(page.documentElement.outerHTML, anchor);
    };
  }

  // Sphinx marks a searched word with a box around it, drawings included; the
  // name of a drawing has no place to measure
  function mendMarks() {
    for (const kind of [SVGTitleElement, SVGDescElement]) {
      kind.prototype.getBBox ??= () => ({ x: 0, y: 0, width: 0, height: 0 });
    }
  }

  // paper is light
  function printLight() {
    const root = document.documentElement.dataset;
    let theme;
    addEventListener("beforeprint", () => {
      theme = root.theme;
      root.theme = "light";
    });
    addEventListener("afterprint", () => (root.theme = theme));
  }

  mendMarks();

  function start() {
    printLight();
    mendRoles();
    addCopyButtons();
    mendSearch();
    openScrollers();
  }

  if (document.readyState === "loading") {
    document.addEventListener("DOMContentLoaded", start);
  } else {
    start();
  }
  document.addEventListener("toggle", openScrollers, true);
  window.addEventListener("load", openScrollers);
  window.addEventListener("resize", openScrollers);
})();
