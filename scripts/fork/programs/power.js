// Raises numbers to powers of any size. Started by node_child.lua.

process.on('message', ({ base, exponent }) => {
  process.send(`${BigInt(base) ** BigInt(exponent)}`);
});
