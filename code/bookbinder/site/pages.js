// html-manager still calls MathJax's v2 API; slider handles lack a name.
(function () {
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

  // ipywidgets draws its sliders without telling a screen reader what of
  function nameSliders() {
    for (const handle of document.querySelectorAll(".noUi-handle")) {
      const box = handle.closest(".jupyter-widgets");
      const label = box && box.querySelector(".widget-label");
      const name = (label && label.textContent.trim()) || "value";
      if (handle.getAttribute("aria-label") !== name) {
        handle.setAttribute("aria-label", name);
      }
    }
    for (const readout of document.querySelectorAll(".widget-readout")) {
      const box = readout.closest(".jupyter-widgets");
      const label = box && box.querySelector(".widget-label");
      if (label && !readout.hasAttribute("aria-label")) {
        readout.setAttribute("role", "textbox");
        readout.setAttribute("aria-label", label.textContent.trim());
      }
    }
  }

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
