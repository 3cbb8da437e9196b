export default { preview: { proxy: { "/api": process.env.GATEWAY } } };
