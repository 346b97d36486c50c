// What a user of ethers does: deploy, send, read, logs, failures, a subscription. Prints one JSON object.
const { ethers } = require("ethers");

async function failure(call) {
  try { await call; return "no failure"; } catch (error) {
    return { reason: error.reason, revert: error.revert && { name: error.revert.name, args: error.revert.args.map(String) } };
  }
}

// ethers' own wait() sleeps until the next block if the transaction's block came between its first two questions; a ledger
// without empty blocks may make none.
async function mined(provider, sent) {
  for (;;) {
    const receipt = await provider.getTransactionReceipt(sent.hash);
    if (receipt) return receipt;
    await new Promise((again) => setTimeout(again, 20));
  }
}

async function main() {
  const { url, key, abi, bytecode } = JSON.parse(require("fs").readFileSync(0));
  const provider = new ethers.JsonRpcProvider(url, undefined, { pollingInterval: 50 });
  const socket = new ethers.WebSocketProvider(url.replace("http", "ws"));
  const wallet = new ethers.NonceManager(new ethers.Wallet(key, provider));
  let head = 0;
  await socket.on("block", (number) => { head = number; });
  const probe = await new ethers.ContractFactory(abi, bytecode, wallet).deploy(3);
  await mined(provider, probe.deploymentTransaction());
  const receipt = await mined(provider, await probe.change(41));
  const logs = await probe.queryFilter(probe.filters.Changed(), receipt.blockNumber, receipt.blockNumber);
  for (let more = 0; !head && more < 50; more += 1) await mined(provider, await probe.change(41)); // it subscribes meanwhile
  const answer = {
    kept: String(await probe.kept()),
    log: String(logs[0].args.amount),
    seen: head > 0,
    refuse: await failure(probe.refuse.staticCall()),
    error: await failure(probe.refuse_with_error.staticCall()),
    panic: await failure(probe.panic.staticCall()),
    estimate: await failure(probe.refuse()),
  };
  console.log(JSON.stringify(answer));
  provider.destroy();
  await socket.destroy();
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
