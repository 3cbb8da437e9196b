// Writes CloudEvents with the Kafka binding of their JavaScript SDK, and KafkaJS. Of each row the
// value is the data, and the headers `type` and `mode` say what to make; prints the partitions.
const { CloudEvent, Kafka: binding } = require("cloudevents");
const { Kafka, logLevel } = require("kafkajs");
const rows = require("./rows.js");

async function main([bootstrap, topic]) {
  const producer = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR }).producer();
  await producer.connect();
  for (const { key, value, headers } of rows()) {
    const event = new CloudEvent({
      source: "/tests",
      type: headers.type,
      datacontenttype: "application/json",
      partitionkey: key, // the binding makes it the record's key
      data: headers.mode === "binary" ? value : JSON.parse(value),
    });
    const made = binding[headers.mode](event);
    // The SDK gives attributes that are not set too, as undefined, which KafkaJS does not take.
    const set = Object.fromEntries(Object.entries(made.headers).filter(([, content]) => content));
    const message = { key: made.key, value: made.value, headers: set };
    const [{ partition }] = await producer.send({ topic, messages: [message] });
    console.log(partition);
  }
  await producer.disconnect();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
