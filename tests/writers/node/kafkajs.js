// Writes rows with KafkaJS's defaults; prints each record's partition.
const { Kafka, logLevel } = require("kafkajs");
const rows = require("./rows.js");

async function main([bootstrap, topic]) {
  const producer = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR }).producer();
  await producer.connect();
  for (const message of rows()) {
    const [{ partition }] = await producer.send({ topic, messages: [message] });
    console.log(partition);
  }
  await producer.disconnect();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
