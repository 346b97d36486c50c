// What a user of ethers does: deploy, send, read, logs, failures, a subscription. Prints one JSON object.
const { ethers } = require("ethers");

async function failure(call) {
  try { await call; return "no failure"; } catch (error) {
    return { reason: error.reason, revert: error.revert && { name: error.revert.name, args: error.revert.args.map(String) } };
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
  await probe.waitForDeployment();
  const receipt = await (await probe.change(41)).wait();
  const logs = await probe.queryFilter(probe.filters.Changed(), receipt.blockNumber, receipt.blockNumber);
  for (let more = 0; !head && more < 50; more += 1) await (await probe.change(41)).wait(); // it subscribes meanwhile
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
