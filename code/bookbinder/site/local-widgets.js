// Widgets find their parts on this site: "anywidget" -> widgets/anywidget.js.
(function () {
  const here = document.currentScript.src.replace(/[^/]*$/, "widgets/");
  window.requirejs.config({ baseUrl: here });
})();
