// Writes "key TAB value" lines with KafkaJS's defaults; prints each record's partition.
const { Kafka, logLevel } = require("kafkajs");
const { readFileSync } = require("node:fs");

async function main([bootstrap, topic]) {
  const producer = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR }).producer();
  await producer.connect();
  const lines = readFileSync(0, "utf8").split("\n").filter(Boolean);
  for (const line of lines) {
    const end = line.indexOf("\t");
    const messages = [{ key: line.slice(0, end), value: line.slice(end + 1) }];
    const [{ partition }] = await producer.send({ topic, messages });
    console.log(partition);
  }
  await producer.disconnect();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
