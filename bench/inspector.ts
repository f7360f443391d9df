/** One for each isolate that workerd offers at the port. */
export async function inspectors(port: number): Promise<Inspector[]> {
  const targets: { webSocketDebuggerUrl: string }[] = await (await fetch(`http://127.0.0.1:${port}/json`)).json()
  return Promise.all(targets.map(({ webSocketDebuggerUrl }) => Inspector.connect(webSocketDebuggerUrl)))
}

export class Inspector {
  readonly #socket: WebSocket
  readonly #waiting = new Map<number, { resolve: (result: string) => void; reject: (error: Error) => void }>()
  #calls = 0

  private constructor(socket: WebSocket) {
    this.#socket = socket
    socket.onmessage = ({ data }) => {
      const { id, result, error }: { id?: number; result?: unknown; error?: { message: string } } = JSON.parse(String(data))
      if (id === undefined) return
      const waiting = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (error) waiting?.reject(new Error(`inspector: ${error.message}`))
      else waiting?.resolve(JSON.stringify(result))
    }
  }

  static connect(url: string): Promise<Inspector> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url)
      socket.onopen = () => resolve(new Inspector(socket))
      socket.onerror = () => reject(new Error(`the inspector at ${url} does not answer`))
    })
  }

  /** Answers JSON. */
  call(method: string, params: object = {}): Promise<string> {
    const id = ++this.#calls
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#socket.send(JSON.stringify({ id, method, params }))
    })
  }

  close(): void {
    this.#socket.close()
  }
}
