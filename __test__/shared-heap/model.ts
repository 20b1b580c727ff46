// A model checker for the shared heap: it runs the protocol's own source, with every access to shared memory as a point where another
// worker may run or this one may be killed, and visits every state that can be reached.
//
// The source of the protocol's modules is turned into generators: a function becomes a generator, a call of one `yield*`. Their
// accesses are the functions of `memory.ts`, which are replaced here by ones that stop before they act. A worker's position can not be
// copied, so a state is reached by running its choices again; states are told apart by the memory, and by what each worker has
// read since its operation began.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { check } from '../../src/shared-heap/check.ts'
import { create, open } from '../../src/shared-heap/header.ts'
import * as layout from '../../src/shared-heap/layout.ts'
import * as memory from '../../src/shared-heap/memory.ts'
import { root } from '../helpers.ts'

type Memory = memory.Memory

/** A run of the protocol that stops before each access: `true` before one that only its own worker can see. */
export type Run<T> = Generator<boolean, T, unknown>

const modules = ['depot', 'pages', 'magazine', 'recovery', 'slots']
/** The accesses that stop. Plain reads of a worker's own words do not: a kill before one is a kill after the write before it. */
const stops = ['set', 'load', 'store', 'swap', 'getByte', 'setByte', 'swapByte', 'clear']
const headStops = ['loadHead', 'swapHead', 'loadDone', 'swapDone']
/** Cells that scenarios may use, as indices of words. What they hold counts as in somebody's hands. */
export const cellWords: readonly number[] = [layout.rootsWord + 1, layout.rootsWord + 3]

/** What scenarios are written with: the protocol's functions, and what the class adds to them. */
export interface Protocol {
  take(m: Memory, sizeClass: number, mark: number): Run<number>
  give(m: Memory, block: number, sizeClass: number, expected: number, intent: number): Run<boolean>
  takeRun(m: Memory, count: number, mark: number): Run<number>
  giveRun(m: Memory, block: number, expected: number, intent: number): Run<boolean>
  hold(m: Memory, block: number, cell: number): Run<void>
  publish(m: Memory): Run<boolean>
  emptyCell(m: Memory, cell: number): Run<number>
  discard(m: Memory, block: number, expected: number): Run<boolean>
  register(m: Memory, threadId: number): Run<number>
  release(m: Memory): Run<void>
  flush(m: Memory): Run<number>
  reapThread(m: Memory, threadId: number): Run<unknown>
  set(m: Memory, index: number, value: number): Run<void>
  load(m: Memory, index: number): Run<number>
  getByte(m: Memory, index: number): Run<number>
}

/** By source. */
const compiled = new Map<string, string>()

/** The protocol as generators over `accesses`. `break` replaces text of the source, to see the checker find it. */
function compile(
  accesses: Record<string, unknown>,
  slotsMax: number,
  breaks: readonly (readonly [string, string])[],
): Protocol {
  const sources = modules.map((name) => readFileSync(join(root, 'src', 'shared-heap', `${name}.ts`), 'utf8'))
  let source = sources.join('\n')
  for (const [from, to] of breaks) {
    if (!source.includes(from)) throw new Error(`The protocol has no text "${from}"`)
    source = source.replace(from, to)
  }
  const declared = [...source.matchAll(/^(?:export )?function (\w+)/gm)].map((match) => match[1] ?? '')
  const plain = new Set(['statusOf'])
  const isRun = (name: string) => !plain.has(name) && (declared.includes(name) || name in accesses)
  const { factory } = ts
  const toGenerators: ts.TransformerFactory<ts.SourceFile> = (context) => {
    const visit = (node: ts.Node): ts.Node | undefined => {
      if (ts.isImportDeclaration(node)) return undefined
      const inner = ts.visitEachChild(node, visit, context)
      if (ts.isFunctionDeclaration(inner)) {
        const star = isRun(inner.name?.text ?? '') ? factory.createToken(ts.SyntaxKind.AsteriskToken) : undefined
        return factory.createFunctionDeclaration([], star, inner.name, [], inner.parameters, undefined, inner.body)
      }
      if (ts.isVariableStatement(inner)) return factory.createVariableStatement([], inner.declarationList)
      if (ts.isCallExpression(inner) && ts.isIdentifier(inner.expression) && isRun(inner.expression.text)) {
        return factory.createParenthesizedExpression(
          factory.createYieldExpression(factory.createToken(ts.SyntaxKind.AsteriskToken), inner),
        )
      }
      return inner
    }
    return (file) => ts.visitNode(file, visit) as ts.SourceFile
  }
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext }
  const outputText =
    compiled.get(source) ??
    ts.transpileModule(source, { compilerOptions, transformers: { before: [toGenerators] } }).outputText
  compiled.set(source, outputText)
  const names: Record<string, unknown> = { ...layout, ...memory, ...accesses, slotsMax }
  const body = `${outputText.replace(/^export \{.*$/gm, '')}\nreturn { ${declared.join(', ')} }`
  return { ...new Function(...Object.keys(names), body)(...Object.values(names)), ...accesses } as Protocol
}

/** Blocks a worker has, and those of which it was killed while it freed them. */
export interface Hands {
  readonly has: Set<number>
  readonly gives: Set<number>
}

/** One operation of a worker. It moves blocks between `hands` before the first and after the last access. */
export type Operation = (p: Protocol, m: Memory, hands: Hands) => Run<void>

/** What is tried. */
export interface Scenario {
  /** Pages of 64 KiB. */
  readonly pages: number
  /** Runs alone, before the others: as worker 1 of them. */
  readonly before?: Operation
  /** What each worker does, beginning with worker 1. */
  readonly workers: readonly (readonly Operation[])[]
  /** How many workers may be killed, those that reap included. */
  readonly kills: number
}

interface Actor {
  readonly m: Memory
  readonly hands: Hands
  script: readonly Operation[]
  position: number
  run: Run<void> | undefined
  isLocal: boolean
  isDead: boolean
  /** Of the accesses since the operation began, and what they read. */
  history: number
}

const mix = (a: number, b: number): number => {
  let h = Math.imul(a ^ (b >>> 16), 0x85ebca6b) ^ Math.imul(b, 0xc2b2ae35)
  h ^= h >>> 13
  h = Math.imul(h, 0x27d4eb2f)
  return h ^ (h >>> 15)
}

/** The heap of a scenario, its actors, and the current state. */
class World {
  readonly #memory: Memory
  /** Words as they were at first, of all that was written since. */
  readonly #old = new Map<number, number>()
  #hashes: [number, number] = [0, 0]
  readonly #protocol: Protocol
  readonly #scenario: Scenario
  #actors: Actor[] = []
  #current: Actor | undefined
  #kills = 0
  readonly #start: readonly number[]
  readonly #workers: number

  constructor(scenario: Scenario, breaks: readonly (readonly [string, string])[]) {
    this.#scenario = scenario
    const bytes = (scenario.pages + 1) * layout.pageBytes
    this.#memory = open(create(bytes, bytes, ''))
    // One reaper for each that may be killed.
    this.#workers = scenario.workers.length + scenario.kills
    this.#protocol = compile(this.#accesses(), this.#workers, breaks)
    for (let worker = 1; worker <= this.#workers; worker++) {
      // Registered already, the thread being the worker's number.
      this.#write(layout.slotAt(worker) + layout.statusWord, ((worker + 1) << 8) | layout.live)
    }
    const actor = this.#actorOf(1)
    this.#current = actor
    for (const isLocal of scenario.before?.(this.#protocol, actor.m, actor.hands) ?? []) actor.isLocal = isLocal
    this.#start = [...actor.hands.has]
    this.#old.clear()
    this.#hashes = [0, 0]
    this.reset()
  }

  #actorOf(worker: number): Actor {
    const m = memory.memoryOf(this.#memory.buffer, worker, this.#memory.firstPage)
    const hands = { has: new Set<number>(), gives: new Set<number>() }
    return { m, hands, script: [], position: 0, run: undefined, isLocal: false, isDead: false, history: 0 }
  }

  /** Back to the state after `before`. */
  reset(): void {
    for (const [word, value] of this.#old) this.#memory.i32[word] = value
    this.#old.clear()
    this.#hashes = [0, 0]
    this.#kills = 0
    this.#actors = Array.from({ length: this.#workers }, (_, index) => this.#actorOf(index + 1))
    this.#scenario.workers.forEach((script, index) => {
      ;(this.#actors[index] as Actor).script = script
    })
    for (const block of this.#start) this.#actors[0]?.hands.has.add(block)
    for (const actor of this.#actors) this.#begin(actor)
  }

  /** Goes to the actor's next operation, up to its first access. */
  #begin(actor: Actor): void {
    while (actor.run === undefined && actor.position < actor.script.length) {
      const operation = actor.script[actor.position++] as Operation
      actor.history = 0
      actor.run = operation(this.#protocol, actor.m, actor.hands)
      this.#advance(actor)
    }
  }

  #advance(actor: Actor): void {
    this.#current = actor
    actor.history = mix(actor.history, 0x9e3779b9)
    const { done, value } = (actor.run as Run<void>).next()
    if (!done) {
      actor.isLocal = value
      return
    }
    actor.run = undefined
    for (const other of this.#actors) {
      if (other === actor) continue
      for (const block of actor.hands.has)
        if (other.hands.has.has(block)) throw new Fault(`two workers have the block ${block}`)
    }
  }

  #write(word: number, value: number): void {
    const before = this.#memory.i32[word] as number
    if (before === value) return
    if (!this.#old.has(word)) this.#old.set(word, before)
    const old = this.#old.get(word) as number
    // What is as it was at first counts for nothing.
    for (const [index, seed] of [0x1234567, 0x89abcde].entries()) {
      const key = mix(word ^ seed, seed)
      if (before !== old) this.#hashes[index as 0 | 1] ^= mix(key, before)
      if (value !== old) this.#hashes[index as 0 | 1] ^= mix(key, value)
    }
    this.#memory.i32[word] = value
  }

  #read<T extends number | bigint | boolean>(value: T): T {
    const actor = this.#current as Actor
    actor.history = mix(actor.history, Number(typeof value === 'bigint' ? value % 0xfffffffbn : value) | 0)
    return value
  }

  #accesses(): Record<string, unknown> {
    const { i32, u8 } = this.#memory
    const write = (word: number, value: number) => this.#write(word, value | 0)
    const read = <T extends number | bigint | boolean>(value: T) => this.#read(value)
    const word = (index: number) => i32[index] as number
    const byte = (index: number) => u8[index] as number
    const writeByte = (index: number, value: number) => {
      const shift = (index & 3) * 8
      write(index >>> 2, (word(index >>> 2) & ~(0xff << shift)) | (value << shift))
    }
    const wide = new BigInt64Array(1)
    const halves = new Int32Array(wide.buffer)
    const head = (sizeClass: number) => {
      halves[0] = word(layout.headAt(sizeClass) * 2)
      halves[1] = word(layout.headAt(sizeClass) * 2 + 1)
      return BigInt.asUintN(64, wide[0] as bigint)
    }
    const doneAt = (worker: number) => layout.slotAt(worker) + layout.doneWord
    const isOwn = (m: Memory, index: number) => index >= m.slot && index < m.slot + layout.doneWord
    // With one reaper nobody else changes a status, or looks at one.
    const isStatus = (index: number) => (index - layout.slotAt(1)) % (layout.slotAt(2) - layout.slotAt(1)) === 0
    const isQuiet = (index: number) =>
      this.#scenario.kills < 2 && index >= layout.slotAt(1) && index < layout.pageTableWord && isStatus(index)
    const accesses = {
      *set(m: Memory, index: number, value: number) {
        // A write that changes nothing is no point of its own.
        if (word(index) === (value | 0)) return
        yield isOwn(m, index)
        write(index, value)
      },
      *load(_: Memory, index: number) {
        yield isQuiet(index)
        return read(word(index))
      },
      *store(_: Memory, index: number, value: number) {
        yield false
        write(index, value)
      },
      *swap(_: Memory, index: number, expected: number, value: number) {
        yield false
        const before = word(index)
        if (before === expected) write(index, value)
        return read(before)
      },
      *getByte(_: Memory, index: number) {
        yield false
        return read(byte(index))
      },
      *setByte(_: Memory, index: number, value: number) {
        yield false
        writeByte(index, value)
      },
      *swapByte(_: Memory, index: number, expected: number, value: number) {
        yield false
        const before = byte(index)
        if (before === expected) writeByte(index, value)
        return read(before)
      },
      *clear(_: Memory, from: number, to: number) {
        yield false
        for (let index = from >>> 2; index < to >>> 2; index++) write(index, 0)
      },
      *loadHead(_: Memory, sizeClass: number) {
        yield false
        return read(head(sizeClass))
      },
      *swapHead(_: Memory, sizeClass: number, expected: bigint, value: bigint) {
        yield false
        const isSame = head(sizeClass) === expected
        if (isSame) {
          wide[0] = BigInt.asIntN(64, value)
          write(layout.headAt(sizeClass) * 2, halves[0] as number)
          write(layout.headAt(sizeClass) * 2 + 1, halves[1] as number)
        }
        return read(isSame)
      },
      *loadDone(_: Memory, worker: number) {
        yield false
        return read(word(doneAt(worker)))
      },
      *swapDone(_: Memory, worker: number, expected: number, value: number) {
        yield false
        const isSame = word(doneAt(worker)) === expected
        if (isSame) write(doneAt(worker), value)
        return read(isSame)
      },
    }
    for (const name of [...stops, ...headStops]) {
      if (!(name in accesses)) throw new Error(`The model has no access ${name}`)
    }
    return accesses
  }

  /** What may happen next: a worker's number makes its step, a negative one kills it. */
  choices(): number[] {
    const running = this.#actors.filter((actor) => !actor.isDead && actor.run !== undefined)
    // A step that nobody else can see may come before all others: only whether its worker lives to make it matters.
    const local = running.find((actor) => actor.isLocal)
    const steps = (local === undefined ? running : [local]).map((actor) => actor.m.me)
    if (this.#kills === this.#scenario.kills) return steps
    return [...steps, ...(local === undefined ? running : [local]).map((actor) => -actor.m.me)]
  }

  choose(choice: number): void {
    const actor = this.#actors[Math.abs(choice) - 1] as Actor
    if (choice > 0) {
      this.#advance(actor)
      this.#begin(actor)
      return
    }
    actor.isDead = true
    actor.run = undefined
    const reaper = this.#actors[this.#scenario.workers.length + this.#kills++] as Actor
    // Who reaps a reaper does what that had to do too.
    const dead = this.#actors.filter((each) => each.isDead)
    reaper.script = dead.map(
      (each): Operation =>
        function* (p, m) {
          yield* p.reapThread(m, each.m.me)
        },
    )
    reaper.position = 0
    this.#begin(reaper)
  }

  /** Tells this state from all others. */
  key(): string {
    const parts = this.#actors.map((actor) =>
      actor.run === undefined && actor.script.length === 0
        ? ''
        : `${actor.position}${actor.isDead ? 'x' : actor.run === undefined ? '.' : ''}${actor.history}:${[...actor.hands.has]}/${[...actor.hands.gives]}`,
    )
    return `${this.#hashes.join()} ${parts.join('|')}`
  }

  /** After all is over: nothing is lost, nothing is twice. */
  finish(): void {
    const { faults, inFlight } = check(this.#memory)
    if (faults.length > 0) throw new Fault(faults.join('; '))
    if (inFlight > 0) throw new Fault(`${inFlight} blocks or pages are in nobody's hands`)
    const allocated = new Set(allocatedBlocks(this.#memory))
    const cells = cellWords.map((word) => this.#memory.i32[word] as number).filter((block) => block !== 0)
    const has = new Set([...cells, ...this.#actors.flatMap((actor) => [...actor.hands.has])])
    const gives = new Set(this.#actors.flatMap((actor) => [...actor.hands.gives]))
    for (const block of has) if (!allocated.has(block)) throw new Fault(`a worker has block ${block}, which is free`)
    for (const block of allocated)
      if (!has.has(block) && !gives.has(block)) throw new Fault(`block ${block} is allocated, and nobody has it`)
    for (const actor of this.#actors) {
      if (actor.isDead && (this.#memory.i32[actor.m.slot] as number) !== 0)
        throw new Fault(`slot ${actor.m.me} is not released`)
    }
  }
}

/** Something that the protocol promises is not so. */
export class Fault extends Error {}

/** Offsets of blocks that are allocated, by the states alone. */
function* allocatedBlocks(m: Memory): Generator<number> {
  for (let page = m.firstPage; page < m.limit >>> layout.pageShift; page++) {
    const kind = layout.entryKind(m.i32[layout.pageTableWord + page] as number)
    const start = page << layout.pageShift
    if (kind !== layout.pageSmall && kind !== layout.pageInstalling && kind !== layout.pageLarge) continue
    for (let offset = start + layout.pageHeadBytes; offset < start + layout.pageBytes; offset += 16) {
      if (layout.isInUse(m.u8[layout.stateAt(offset)] as number)) yield offset
      if (kind === layout.pageLarge) break
    }
  }
}

/** Steps of one run; more means that a worker waits for another. */
const stepsMax = 1500

/** What {@link explore} visited. */
export interface Visited {
  readonly states: number
  /** Of them: those in which all is over. */
  readonly ends: number
}

/** Visits every state of the scenario; throws a {@link Fault} with the choices that lead to it. `breaks` replace text of the source. */
export function explore(scenario: Scenario, breaks: readonly (readonly [string, string])[] = []): Visited {
  const world = new World(scenario, breaks)
  const visited = new Set<string>()
  const open: number[][] = [[]]
  let ends = 0
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    try {
      world.reset()
      for (const choice of path) world.choose(choice)
      for (;;) {
        const key = world.key()
        if (visited.has(key)) break
        visited.add(key)
        const choices = world.choices()
        const [first, ...others] = choices
        if (first === undefined) {
          world.finish()
          ends++
          break
        }
        for (const other of others) open.push([...path, other])
        path = [...path, first]
        if (path.length > stepsMax) throw new Fault(`no end after ${stepsMax} steps`)
        world.choose(first)
      }
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      throw new Fault(`${error.message}, after ${path.join(' ')}`)
    }
  }
  return { states: visited.size, ends }
}
