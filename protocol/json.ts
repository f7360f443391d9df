/** Returns the value of a JSON text, or null when the text is not JSON. (The text `null` is null as well.) */
export function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
