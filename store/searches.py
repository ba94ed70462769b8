"""Searches for text that people type: every character means itself."""


def containing(text: str) -> str:
    """Return the pattern of SQL's LIKE for what contains `text`; the query needs the clause ESCAPE '\\'."""
    for special in ("\\", "%", "_"):
        text = text.replace(special, "\\" + special)
    return f"%{text}%"
