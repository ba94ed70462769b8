// Values in the browser's storage. If it refuses (a private window, a full disk), the page works without it.

const PREFIX = "attune.";

export function recall(key, otherwise = null) {
  try {
    const text = localStorage.getItem(PREFIX + key);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

/** Store a value; null removes it. Returns whether it was stored. */
export function keep(key, value) {
  try {
    if (value === null || value === undefined) localStorage.removeItem(PREFIX + key);
    else localStorage.setItem(PREFIX + key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

/** Return a new id in the service's form, so that a question has a conversation before its first answer. */
export function newId(prefix) {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return prefix + Date.now().toString(16) + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
