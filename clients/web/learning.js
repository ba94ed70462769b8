export function learningScreen(root) { root.replaceChildren(); }
