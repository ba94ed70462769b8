export function settingsScreen(root) { root.replaceChildren(); }
