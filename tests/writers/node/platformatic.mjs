// Writes rows with @platformatic/kafka, told to partition as the Java client does, or ("default") not
// told anything; prints each record's partition.
import { Producer, compatibilityPartitioner, stringSerializers } from "@platformatic/kafka";
import rows from "./rows.js";

const [bootstrap, topic, how] = process.argv.slice(2);
const producer = new Producer({
  clientId: "writer",
  bootstrapBrokers: [bootstrap],
  serializers: stringSerializers,
  ...(how === "default" ? {} : { partitioner: compatibilityPartitioner }),
});
for (const row of rows()) {
  const { offsets } = await producer.send({ messages: [{ topic, ...row }] });
  console.log(offsets[0].partition);
}
await producer.close();
