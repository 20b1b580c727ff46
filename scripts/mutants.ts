/**
 * What `npm run weaken` does to the core: orderings that are made weaker, found in the text, and guards that are dropped, listed here.
 * All mutants are compiled at once: each stands beside the shipped code, and a variable of the environment says which one is in force.
 */

/** Which tests run with a mutant: loom's models, or shuttle's schedules of the whole allocator. */
export type Checker = 'models' | 'schedules'

export interface Mutant {
  readonly id: number
  /** Below `crates/tessalloc/src`. */
  readonly file: string
  /** `function #n: from → to` of an ordering, or what a guard does. */
  readonly name: string
  readonly checker: Checker
  /** Tests that run first: the start of a model's name, or a scenario. */
  readonly first: string
}

/** Files whose orderings the models look at, with the models that look first. */
export const orderingFiles: Readonly<Record<string, string>> = {
  'remote.rs': 'models::models_',
  'inbox.rs': 'models::models_',
  'waiting.rs': 'models::waiting',
  'exchange.rs': 'models::models_',
  'gate.rs': 'models::gate',
  'place.rs': 'models::arenas',
  'taken.rs': 'models::space',
  'chunk.rs': 'models::space',
  'grown.rs': 'models::space',
  'life.rs': 'models::records',
  'background.rs': 'models::words',
  'sync/lock.rs': 'models::words',
  'report/hook.rs': 'models::words',
  'first_class/identity.rs': 'models::words',
}

/** A guard: a text that stands once in a file, and what stands there with `MUTANT` in force. */
interface Guard {
  readonly file: string
  readonly what: string
  readonly from: string
  readonly to: string
  readonly checker: Checker
  readonly first: string
}

const guard =
  (checker: Checker, first: string) =>
  (file: string, what: string, from: string, to: string): Guard => ({ file, what, from, to, checker, first })

/** Drops a lock that is held to the end of its block. */
const unlocked = (lock: string, name = '_guard'): [string, string] => [
  `let ${name} = ${lock}.lock();`,
  `let ${name} = (!MUTANT).then(|| ${lock}.lock());`,
]

const pages = guard('models', 'models::models_')
const gates = guard('models', 'models::gate')
const held = guard('models', 'models::records')
const arenas = guard('models', 'models::arenas')
const space = guard('models', 'models::space')
const words = guard('models', 'models::words')
const inPages = guard('schedules', 'pages')
const inHeaps = guard('schedules', 'heaps')
const inSpace = guard('schedules', 'space')
const inArenas = guard('schedules', 'arenas')
const inAll = guard('schedules', 'all')

export const guards: readonly Guard[] = [
  pages(
    'remote.rs',
    'push: looks again after it left blocks',
    'Ok(_) if state == State::Ownerless =>',
    'Ok(_) if state == State::Ownerless && !MUTANT =>',
  ),
  pages(
    'remote.rs',
    'leave: not if enough is there',
    'if u32::from(seen.list().count) >= claim_at {',
    'if !MUTANT && u32::from(seen.list().count) >= claim_at {',
  ),
  pages(
    'remote.rs',
    'claim: ownerless pages only',
    'while seen.state() == State::Ownerless {',
    'while MUTANT || seen.state() == State::Ownerless {',
  ),
  pages('inbox.rs', 'push: not if closed', 'if head == Self::closed() {', 'if !MUTANT && head == Self::closed() {'),
  pages(
    'exchange.rs',
    'let_go: not if posted',
    'if !P::remote(page).hold() {',
    'if !P::remote(page).hold() && !MUTANT {',
  ),
  gates(
    'gate.rs',
    'try_enter: not if claimed',
    'if self.claim.load(Ordering::Acquire) == FREE {',
    'if self.claim.load(Ordering::Acquire) == FREE || MUTANT {',
  ),
  gates(
    'gate.rs',
    'try_claim: not if the owner is inside',
    'if self.inside.load(Ordering::Acquire) == 0 {',
    'if self.inside.load(Ordering::Acquire) == 0 || MUTANT {',
  ),
  gates(
    'gate.rs',
    'try_claim: one at a time',
    'if self.claim.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_err() {',
    'if self.claim.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_err() && !MUTANT {',
  ),
  held('gate.rs', 'enter: goes in where it forks', 'Err(HELD) => return,', 'Err(HELD) if !MUTANT => return,'),
  held(
    'gate.rs',
    'try_hold: not if claimed',
    'self.claim.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()',
    'self.claim.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok() || MUTANT',
  ),
  held(
    'gate.rs',
    'exclude: waits for who is inside',
    'Err(_) => pause(1),',
    'Err(_) if MUTANT => return,\n                Err(_) => pause(1),',
  ),
  held(
    'life.rs',
    'is_unused: not while a thread has it',
    'self.0.load(Ordering::Acquire) == UNUSED',
    'self.0.load(Ordering::Acquire) == UNUSED || MUTANT',
  ),
  arenas(
    'place.rs',
    'find_in_one_life: asks whether it was one',
    'self.epoch.load(Ordering::Relaxed) == epoch { Some',
    '(MUTANT || self.epoch.load(Ordering::Relaxed) == epoch) { Some',
  ),
  arenas(
    'place.rs',
    'end: nothing is within reach',
    'self.reach.store(0, Ordering::Relaxed);',
    'if !MUTANT { self.reach.store(0, Ordering::Relaxed); }',
  ),
  arenas('taken.rs', 'take_exactly: free slices only', 'if before & bits != 0 {', 'if !MUTANT && before & bits != 0 {'),
  arenas(
    'taken.rs',
    'take_exactly: gives back what it got in vain',
    'self.give(bits & !before);',
    'if !MUTANT { self.give(bits & !before); }',
  ),
  space(
    'taken.rs',
    'note_used_up: looks again',
    'if taken.load(Ordering::SeqCst) != u64::MAX {',
    'if !MUTANT && taken.load(Ordering::SeqCst) != u64::MAX {',
  ),
  space(
    'taken.rs',
    'look: what was noted meanwhile stays',
    'self.0.fetch_min(u64::from(first), Ordering::Relaxed);',
    'if MUTANT { self.0.store(u64::from(first), Ordering::Relaxed); } else { self.0.fetch_min(u64::from(first), Ordering::Relaxed); }',
  ),
  words(
    'sync/lock.rs',
    'acquire: waits for the holder',
    'while self.0.swap(CONTENDED, Ordering::Acquire) != FREE {',
    'while self.0.swap(CONTENDED, Ordering::Acquire) != FREE && !MUTANT {',
  ),
  words('background.rs', 'lie_down: not if there is news', 'if is_news() {', 'if !MUTANT && is_news() {'),
  words(
    'report/hook.rs',
    'get: not while a pair is set',
    'if before.is_multiple_of(2) &&',
    'if (MUTANT || before.is_multiple_of(2)) &&',
  ),
  words(
    'report/hook.rs',
    'get: the same version before and after',
    'self.version.load(Ordering::Relaxed) == before {',
    '(MUTANT || self.version.load(Ordering::Relaxed) == before) {',
  ),
  words(
    'report/hook.rs',
    'set: waits for another setter',
    'if !version.is_multiple_of(2) && waits < TRIES {',
    'if !MUTANT && !version.is_multiple_of(2) && waits < TRIES {',
  ),
  words(
    'first_class/identity.rs',
    'id_of: asks the page again',
    'if look() == heap { id }',
    'if MUTANT || look() == heap { id }',
  ),
  words('options/word.rs', 'put: not over a stronger source', '<= source;', '<= source || MUTANT;'),
  words(
    'stats/words.rs',
    'raise_to: the greater one stays',
    'peak.fetch_max(now, Ordering::Relaxed);',
    'if MUTANT { peak.store(now, Ordering::Relaxed) } else { peak.fetch_max(now, Ordering::Relaxed); }',
  ),
  inAll(
    'fork.rs',
    'prepare: the forking thread goes on in what nobody has',
    'let is_held = lessee.is_null() ||',
    'let is_held = (lessee.is_null() && !MUTANT) ||',
  ),
  inSpace('region/growth.rs', 'grow: one region at a time', ...unlocked('GROW')),
  inSpace(
    'region/taking.rs',
    'purge_chunk: free slices only',
    'if !self.take_exactly(&part) {\n                continue;',
    'if !self.take_exactly(&part) && !MUTANT {\n                continue;',
  ),
  inArenas(
    'region/arenas.rs',
    'end: not while heaps are bound',
    'if self.heap_count.load(Ordering::Acquire) > 0 ||',
    'if (!MUTANT && self.heap_count.load(Ordering::Acquire) > 0) ||',
  ),
  inHeaps(
    'first_class.rs',
    'free_small: home while the heap stands',
    'let is_home = (*page).owner',
    'let is_home = MUTANT || (*page).owner',
  ),
  inHeaps(
    'first_class/entry.rs',
    'claim_from_lessee: claims the record of a thread',
    'while !gate.try_claim() {',
    'while !gate.try_claim() && !MUTANT {',
  ),
  inHeaps('first_class.rs', 'create: under the lock', ...unlocked('HEAPS')),
  inHeaps('first_class/lease.rs', 'lease: under the lock', ...unlocked('HEAPS')),
  inPages('thread.rs', 'end: sends batches home', 'thread.ring.end();', 'if !MUTANT { thread.ring.end(); }'),
  inPages('thread.rs', 'end: leaves its pages', 'thread.abandon_pages();', 'if !MUTANT { thread.abandon_pages(); }'),
  inPages('thread.rs', 'the shared record: one thread at a time', ...unlocked('SHARED_LOCK')),
  inPages(
    'ring.rs',
    'add_and_send: the batch in its place goes out',
    'if !self.has(page) {\n                self.send(place);',
    'if !self.has(page) {\n                if !MUTANT { self.send(place); }',
  ),
]

/** What can be made weaker. `to` is made of the match, with `is(id)` for "this one is in force". */
interface Weaker {
  readonly pattern: RegExp
  readonly to: (match: string, before: string) => readonly string[]
}

const orderings: Weaker[] = [
  { pattern: /\bOrdering::Acquire\b/g, to: () => ['Ordering::Relaxed'] },
  { pattern: /\bOrdering::Release\b/g, to: () => ['Ordering::Relaxed'] },
  { pattern: /\bOrdering::AcqRel\b/g, to: () => ['Ordering::Acquire', 'Ordering::Release'] },
  {
    pattern: /\bOrdering::SeqCst\b/g,
    to: (_, before) => [
      /\.load\($/.test(before)
        ? 'Ordering::Acquire'
        : /\.store\([^()]*, $/.test(before)
          ? 'Ordering::Release'
          : 'Ordering::AcqRel',
    ],
  },
  { pattern: /\bbarrier_light\(\);/g, to: () => [''] },
  { pattern: /\bbarrier_heavy\(\)/g, to: () => ['true'] },
  { pattern: /(?:super::)?\bwake\([^()]*\);/g, to: () => [''] },
  { pattern: /\.wrapping_add\(1\)/g, to: () => [''] },
]

/** The text that does one or the other. */
function both(match: string, ways: readonly { id: number; to: string }[]): string {
  const is = (id: number) => `crate::mutant::is(${id})`
  if (match.startsWith('Ordering::')) {
    return `(${ways.map(({ id, to }) => `if ${is(id)} { ${to} } else`).join(' ')} { ${match} })`
  }
  const id = ways[0]?.id ?? 0
  if (match === '.wrapping_add(1)') return `.wrapping_add(if ${is(id)} { 0 } else { 1 })`
  return match.endsWith(';') ? `if !${is(id)} { ${match} }` : `(${is(id)} || ${match})`
}

/** Changes a file's text so that it holds its mutants, and adds them to `all`. */
export function mutate(file: string, text: string, all: Mutant[]): string {
  let changed = text
  for (const each of guards.filter((each) => each.file === file)) {
    if (changed.split(each.from).length < 2) throw new Error(`${file} lacks what is dropped: ${each.from}`)
    const id = all.length + 1
    // The first one, where several functions have the same.
    changed = changed.replace(each.from, () => each.to.replace('MUTANT', `crate::mutant::is(${id})`))
    all.push({ id, file, name: each.what, checker: each.checker, first: each.first })
  }
  const first = orderingFiles[file]
  if (first === undefined) return changed
  let name = ''
  let count = 0
  const lines = changed.split('\n')
  const tests = lines.findIndex((line) => line.startsWith('#[cfg(all(test'))
  return lines
    .map((line, at) => {
      const code = line.replace(/\/\/.*$/, '')
      if ((tests >= 0 && at >= tests) || /^\s*use\b/.test(code)) return line
      const start = /\bfn (\w+)/.exec(code)?.[1]
      if (start !== undefined) {
        name = start
        count = 0
      }
      const found = orderings
        .flatMap(({ pattern, to }) => [...code.matchAll(pattern)].map((match) => ({ match, to })))
        .sort((a, b) => a.match.index - b.match.index)
      let end = 0
      let out = ''
      for (const { match, to } of found) {
        count += 1
        const short = (part: string) => part.replace('Ordering::', '').replace(/^$/, 'none').replace(/;$/, '')
        const ways = to(match[0], line.slice(0, match.index)).map((way) => {
          const id = all.length + 1
          all.push({
            id,
            file,
            name: `${name} #${count}: ${short(match[0])} → ${short(way)}`,
            checker: 'models',
            first,
          })
          return { id, to: way }
        })
        out += line.slice(end, match.index) + both(match[0], ways)
        end = match.index + match[0].length
      }
      return out + line.slice(end)
    })
    .join('\n')
}

/** The module that says which mutant is in force. */
export const chooser = `
/// Whether this mutant is in force.
pub(crate) fn is(id: u32) -> bool {
    static CHOSEN: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| std::env::var("TESSALLOC_TEST_MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0)) == id
}
`
