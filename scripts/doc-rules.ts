/**
 * What the comments of public symbols promise beyond what typedoc looks at; part of `npm run docs`. Public is what `src/index.ts`
 * exports.
 *
 * | a comment | of | says |
 * |---|---|---|
 * | D1 | function, class, constant | which threads may use it |
 * | D2 | function, class, constant | an example, which the tests run |
 * | D3 | function, constructor, method, accessor | each code that its body may throw, also by what it calls |
 * | D4 | property or accessor that is a number | its unit, unless the name ends in one |
 * | D5 | method or accessor of a class | nothing, but some example uses one of its name: of a comment, or of a guide |
 *
 * For D3 and D4 the comment of the class or interface counts too, and for D3 that of what a link leads to. Errors of loading are
 * told once, at the top of `src/index.ts`.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { loadErrorCodes } from '../src/errors.ts'
import { CommandError, root } from './lib.ts'

/** A comment that lacks something. */
export interface DocFault {
  readonly file: string
  readonly line: number
  readonly text: string
}

const unit =
  /\b(bytes?|milliseconds|ms|index|power of two)\b|\bUnit: |\b([Nn]umber|[Cc]ount|[Ii]d) of\b|\b[Hh]ow (many|often)\b/
/** A comment that begins with things, such as "Pages of the class", counts them. */
const things = /^(All |Those |Free |Further )?[A-Za-z]+s\b/

/** The examples of all guides and comments. */
function allExamples(): string {
  const guides = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'))
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  )
  const files = [...guides.map((name) => `docs/${name}`), ...sources.map((name) => `src/${name}`)]
  const texts = files.map((file) => readFileSync(join(root, file), 'utf8').replace(/^\s*\* ?/gm, ''))
  return texts.flatMap((text) => [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code)).join('\n')
}

const examples = allExamples()

/** What is wrong with the comments of what the module at `path` exports. */
export function docFaults(path: string = join(root, 'src', 'index.ts'), options: ts.CompilerOptions = {}): DocFault[] {
  const config = ts.getParsedCommandLineOfConfigFile(join(root, 'tsconfig.build.json'), options, {
    ...ts.sys,
    onUnRecoverableConfigFileDiagnostic: () => {},
  })
  const program = ts.createProgram([path], config?.options ?? {})
  const checker = program.getTypeChecker()
  const file = program.getSourceFile(path)
  const module = file && checker.getSymbolAtLocation(file)
  const symbols = module ? checker.getExportsOfModule(module) : []
  if (symbols.length === 0) throw new CommandError(`Cannot look at comments: ${path} exports nothing`)
  return symbols.flatMap((symbol) => faultsOf(resolved(symbol, checker), checker))
}

function resolved(symbol: ts.Symbol, checker: ts.TypeChecker): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
}

function faultsOf(symbol: ts.Symbol, checker: ts.TypeChecker): DocFault[] {
  const node = symbol.declarations?.[0]
  if (node === undefined) return []
  const own = commentOf(node)
  const isValue = ts.isFunctionDeclaration(node) || ts.isClassDeclaration(node) || ts.isVariableDeclaration(node)
  const found: string[] = []
  if (isValue && !/thread|worker/i.test(own)) found.push('does not say which threads may use it')
  if (isValue && !own.includes('```ts')) found.push('has no example')
  if (ts.isFunctionDeclaration(node)) found.push(...unnamed(node, [own, ...linked(node, checker)], checker))
  const members = ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node) ? [...node.members] : []
  return [...fault(node, symbol.name, found), ...members.flatMap((member) => memberFaults(member, own, checker))]
}

function memberFaults(member: ts.ClassElement | ts.TypeElement, outer: string, checker: ts.TypeChecker): DocFault[] {
  const isHidden = ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Private
  if (isHidden || (member.name && ts.isPrivateIdentifier(member.name))) return []
  const texts = [commentOf(member), outer]
  const found = ts.isFunctionLike(member) ? unnamed(member, [...texts, ...linked(member, checker)], checker) : []
  const isValue = ts.isPropertyDeclaration(member) || ts.isPropertySignature(member) || ts.isGetAccessor(member)
  const name = member.name?.getText() ?? 'constructor'
  if (isValue && isNumber(member, checker) && !/(Bytes|Ms|Count)$/.test(name)) {
    const says = (text: string) => unit.test(text) || things.test(text)
    if (!says(commentOf(member)) && !unit.test(outer)) found.push('does not say its unit')
  }
  const isCalled = ts.isMethodDeclaration(member) || ts.isGetAccessor(member)
  if (isCalled && /^\w+$/.test(name) && !new RegExp(`\\.${name}\\b`).test(examples)) found.push('is in no example')
  const owner = (member.parent as ts.ClassDeclaration | ts.InterfaceDeclaration).name?.text
  return fault(member, `${owner}.${name}`, found)
}

function isNumber(node: ts.Node, checker: ts.TypeChecker): boolean {
  const type = checker.getNonNullableType(checker.getTypeAtLocation(node))
  return (type.flags & ts.TypeFlags.NumberLike) !== 0
}

function fault(node: ts.Node, name: string, texts: readonly string[]): DocFault[] {
  const source = node.getSourceFile()
  const line = source.getLineAndCharacterOfPosition(node.getStart()).line + 1
  const file = source.fileName.replace(`${root}/`, '')
  return texts.map((text) => ({ file, line, text: `${name} ${text}` }))
}

/** The text of the comment before a declaration. */
function commentOf(node: ts.Node): string {
  // That of a variable stands before the statement.
  const holder = ts.isVariableDeclaration(node) ? node.parent.parent : node
  const comment = ts.getJSDocCommentsAndTags(holder).find(ts.isJSDoc)
  return comment === undefined
    ? ''
    : comment
        .getText()
        .replace(/^\s*(\/\*\*|\*\/|\*) ?/gm, '')
        .replace(/\*\/$/, '')
}

/** The comments of what the links in a comment lead to. */
function linked(node: ts.Node, checker: ts.TypeChecker): string[] {
  const comment = ts.getJSDocCommentsAndTags(node).find(ts.isJSDoc)
  const parts = typeof comment?.comment === 'string' ? [] : (comment?.comment ?? [])
  return parts.flatMap((part) => {
    if (!ts.isJSDocLink(part) || part.name === undefined) return []
    const symbol = checker.getSymbolAtLocation(part.name)
    const target = symbol && resolved(symbol, checker).declarations?.[0]
    return target === undefined ? [] : [commentOf(target)]
  })
}

/** The codes that a function may throw and none of the texts names. */
function unnamed(node: ts.Node, texts: readonly string[], checker: ts.TypeChecker): string[] {
  const isNamed = (code: string) => texts.some((text) => text.includes(code))
  return [...thrownBy(node, checker)].filter((code) => !isNamed(code)).map((code) => `does not name ${code}`)
}

const known = new Map<ts.Node, ReadonlySet<string>>()

/** Codes of errors that stand in a function's body, and in those of what it calls. */
function thrownBy(node: ts.Node, checker: ts.TypeChecker): ReadonlySet<string> {
  const before = known.get(node)
  if (before !== undefined) return before
  const codes = new Set<string>()
  // One that calls itself is asked for while it is being answered: what there is so far is what it adds.
  known.set(node, codes)
  const visit = (at: ts.Node): void => {
    if (ts.isStringLiteral(at) && at.text.startsWith('ERR_TESSALLOC_')) codes.add(at.text)
    for (const called of calledAt(at, checker)) for (const code of thrownBy(called, checker)) codes.add(code)
    // What a new object is given to call, it calls later.
    if (ts.isNewExpression(at)) at.arguments?.filter((each) => !holdsFunction(each)).forEach(visit)
    else at.forEachChild(visit)
  }
  node.forEachChild(visit)
  if (node.getSourceFile().fileName.endsWith('src/native.ts')) for (const code of loadErrorCodes) codes.delete(code)
  return codes
}

function holdsFunction(node: ts.Node): boolean {
  return ts.isFunctionLike(node) || node.forEachChild(holdsFunction) === true
}

/** The functions of this package that are called at a node. */
function calledAt(at: ts.Node, checker: ts.TypeChecker): ts.Node[] {
  if (ts.isCallExpression(at) || ts.isNewExpression(at)) {
    const declaration = checker.getResolvedSignature(at)?.declaration
    return declaration && isOurs(declaration) ? [declaration] : []
  }
  if (!ts.isPropertyAccessExpression(at)) return []
  const declarations = checker.getSymbolAtLocation(at.name)?.declarations ?? []
  return declarations.filter((each) => ts.isGetAccessor(each) && isOurs(each))
}

const isOurs = (node: ts.Node) => !node.getSourceFile().isDeclarationFile
