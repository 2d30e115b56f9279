// Before the first paint: the theme that was chosen here, else that of the system. Kept in this browser, in no cookie.
(() => {
  const root = document.documentElement;
  let chosen = null;
  try { chosen = localStorage.getItem("edgex-theme"); } catch { /* private mode keeps nothing */ }
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
})();
