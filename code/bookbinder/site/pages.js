// What the theme leaves undone.
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

  // the theme lets the keyboard into code that scrolls, except in folds
  function openCode() {
    for (const code of document.querySelectorAll("main pre")) {
      if (code.scrollWidth > code.clientWidth) code.tabIndex = 0;
    }
  }

  // "interactive" comes before the theme's deferred scripts draw the icons
  document.addEventListener("readystatechange", () => {
    if (document.readyState === "interactive") mendRoles();
  });
  document.addEventListener("toggle", openCode, true);
  document.addEventListener("click", ({ target }) => {
    const fold = target.closest && target.closest(".toggle, .dropdown");
    if (fold) requestAnimationFrame(openCode);
  });
})();
