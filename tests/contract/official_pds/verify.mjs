// Do commits and a whole repository hold, as the reference SDK sees it?
//
//   node verify.mjs < {did, key, commits: [{blocks, ops: [{action, path, prev}], prevData}], repo}
//
// Blocks are base64. Prints {rejected: [words], records: number}.
import { CID } from 'multiformats/cid'
import { MST, MemoryBlockstore, Repo, readCarWithRoot, verifyDiffCar, verifyRepoCar } from '@atproto/repo'

const { did, key, commits, repo } = JSON.parse(Buffer.concat(await process.stdin.toArray()).toString())
const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'))
const rejected = []
const judge = async (what, check) => {
  try {
    await check()
  } catch (error) {
    rejected.push(`${what}: ${error}`)
  }
}

// Each commit on top of the one before, from its own blocks.
const storage = new MemoryBlockstore()
let before = null
for (const [number, { blocks }] of commits.entries()) {
  await judge(`commit ${number}`, async () => {
    const { commit, writes } = await verifyDiffCar(before, bytes(blocks), did, key)
    const said = commits[number].ops.map(({ action, path }) => `${action} ${path}`).sort()
    const done = writes.map(({ action, collection, rkey }) => `${action} ${collection}/${rkey}`).sort()
    if (`${said}` !== `${done}`) throw new Error(`it says ${said}, and did ${done}`)
    await storage.applyCommit(commit)
    before = await Repo.load(storage, commit.cid)
  })
}

// From its own blocks alone, each commit undone is what was there before.
for (const [number, { blocks, ops, prevData }] of commits.entries()) {
  if (!prevData) continue
  await judge(`commit ${number} undone`, async () => {
    const car = await readCarWithRoot(bytes(blocks))
    const own = new MemoryBlockstore(car.blocks)
    let tree = MST.load(own, (await Repo.load(own, car.root)).commit.data)
    for (const { action, path, prev } of ops.toReversed()) {
      if (action === 'create') tree = await tree.delete(path)
      if (action === 'update') tree = await tree.update(path, CID.parse(prev))
      if (action === 'delete') tree = await tree.add(path, CID.parse(prev))
    }
    const found = `${await tree.getPointer()}`
    if (found !== prevData) throw new Error(`${found} in place of ${prevData}`)
  })
}

let records = 0
await judge('the repository', async () => {
  const verified = await verifyRepoCar(bytes(repo), did, key)
  records = verified.creates.length
  if (before && !verified.commit.cid.equals(before.cid)) throw new Error(`it is at ${verified.commit.cid}`)
})
console.log(JSON.stringify({ rejected, records }))
