/** Something that goes on until it is disposed: a listener, or figures in a registry. */
export interface Registration extends Disposable {
  /** Ends it: as `[Symbol.dispose]`. May be called again. */
  dispose(): void
}

/** The registration that `end` ends, once. */
export function registration(end: () => void): Registration {
  let isOver = false
  const dispose = () => {
    if (isOver) return
    isOver = true
    end()
  }
  return { dispose, [Symbol.dispose]: dispose }
}
