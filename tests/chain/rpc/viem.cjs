// What a user of viem does: deploy, send, read, logs, failures, supposed storage and blocks, a subscription. Prints one JSON object.
const viem = require("viem");
const { privateKeyToAccount } = require("viem/accounts");

async function failure(call) {
  try { await call; return "no failure"; } catch (error) {
    const cause = error.walk((inner) => inner instanceof viem.ContractFunctionRevertedError);
    return { reason: cause.reason, name: cause.data && cause.data.errorName, args: ((cause.data && cause.data.args) || []).map(String) };
  }
}

async function main() {
  const { url, key, abi, bytecode } = JSON.parse(require("fs").readFileSync(0));
  const transport = viem.http(url);
  const id = await viem.createPublicClient({ transport }).getChainId();
  const chain = viem.defineChain({ id, name: "merit", nativeCurrency: { name: "coin", symbol: "C", decimals: 18 }, rpcUrls: { default: { http: [url] } } });
  const reader = viem.createPublicClient({ chain, transport, pollingInterval: 50 });
  const socket = viem.createPublicClient({ chain, transport: viem.webSocket(url.replace("http", "ws")) });
  const writer = viem.createWalletClient({ chain, transport, account: privateKeyToAccount(key) });
  let head = 0n;
  socket.watchBlocks({ onBlock: (block) => { head = block.number; } });
  const created = await reader.waitForTransactionReceipt({ hash: await writer.deployContract({ abi, bytecode, args: [3n] }) });
  const probe = { abi, address: created.contractAddress };
  const receipt = await reader.waitForTransactionReceipt({ hash: await writer.writeContract({ ...probe, functionName: "change", args: [41n] }) });
  const logs = await reader.getContractEvents({ ...probe, eventName: "Changed", fromBlock: receipt.blockNumber, toBlock: receipt.blockNumber });
  const change = { ...probe, functionName: "change", args: [41n] };
  for (let more = 0; !head && more < 50; more += 1) await reader.waitForTransactionReceipt({ hash: await writer.writeContract(change) });
  const slot = "0x" + "00".repeat(32);
  const stateOverride = [{ address: probe.address, stateDiff: [{ slot, value: viem.toHex(7, { size: 32 }) }] }];
  const data = viem.encodeFunctionData({ abi, functionName: "change", args: [9n] });
  const calls = [{ account: writer.account, to: probe.address, data }, { to: probe.address, data: viem.encodeFunctionData({ abi, functionName: "kept" }) }];
  const [, second] = await reader.simulateBlocks({ blocks: [{ calls: [calls[0]] }, { calls: [calls[1]] }] });
  const answer = {
    simulated: String(BigInt(second.calls[0].data)),
    kept: String(await reader.readContract({ ...probe, functionName: "kept" })),
    supposed: String(await reader.readContract({ ...probe, functionName: "kept", stateOverride })),
    log: String(logs[0].args.amount),
    seen: head > 0n,
    refuse: await failure(reader.simulateContract({ ...probe, functionName: "refuse" })),
    error: await failure(reader.simulateContract({ ...probe, functionName: "refuse_with_error" })),
    panic: await failure(reader.simulateContract({ ...probe, functionName: "panic" })),
  };
  console.log(JSON.stringify(answer));
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
