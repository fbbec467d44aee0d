// What the theme and ipywidgets leave undone on a page without a kernel.
(function () {
  // html-manager still calls MathJax's version 2
  function shimMathJax() {
    const mj = window.MathJax;
    if (!mj || mj.Hub) return;
    mj.Hub = {
      Queue(call) {
        const node = call && call[2];
        if (node && mj.typesetPromise) {
          mj.startup.promise.then(() => mj.typesetPromise([node]));
        }
      },
    };
  }

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

  // ipywidgets draws its sliders without telling a screen reader what of;
  // their spoken values have one digit, whatever the step
  function nameSliders() {
    for (const slider of document.querySelectorAll(".widget-slider")) {
      const label = slider.querySelector(".widget-label");
      const name = (label && label.textContent.trim()) || "value";
      const readout = slider.querySelector(".widget-readout");
      const values = readout ? readout.textContent.split(" – ") : [];
      const handles = slider.querySelectorAll(".noUi-handle");
      handles.forEach((handle, i) => {
        const which = handles.length > 1 ? `, ${["from", "to"][i]}` : "";
        set(handle, "aria-label", name + which);
        if (values[i]) set(handle, "aria-valuetext", values[i].trim());
      });
      if (readout) {
        set(readout, "role", "textbox");
        set(readout, "aria-label", `${name}, typed`);
      }
    }
  }

  // the theme lets the keyboard into code that scrolls, except in folds
  function openCode() {
    for (const code of document.querySelectorAll("main pre")) {
      if (code.scrollWidth > code.clientWidth) code.tabIndex = 0;
    }
  }

  function set(node, attribute, value) {
    if (node.getAttribute(attribute) !== value) {
      node.setAttribute(attribute, value);
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
  document.addEventListener("DOMContentLoaded", () => {
    shimMathJax();
    if (!document.querySelector('script[type*="jupyter.widget"]')) return;
    const main = document.querySelector("main") || document.body;
    new MutationObserver(nameSliders).observe(main, {
      childList: true,
      subtree: true,
    });
  });
})();
