export function versionsScreen(root) { root.replaceChildren(); }
