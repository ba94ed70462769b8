// Runs before the first paint, so that a dark page never flashes light. A classic script: modules would come too late.
(() => {
  let choice = null;
  try {
    choice = JSON.parse(localStorage.getItem("attune.theme"));
  } catch {
    /* no memory: follow the system */
  }
  if (choice === "light" || choice === "dark") document.documentElement.dataset.theme = choice;
})();
