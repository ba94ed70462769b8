// The theme, set before the first paint so that a dark page never flashes light. A module would run too late.
(() => {
  let choice = null;
  try {
    choice = JSON.parse(localStorage.getItem("attune.theme"));
  } catch {
    /* no storage: follow the system */
  }
  if (choice === "light" || choice === "dark") document.documentElement.dataset.theme = choice;
})();
