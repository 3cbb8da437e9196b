import io.apicurio.registry.serde.avro.AvroKafkaSerializer;
import java.util.Base64;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericRecordBuilder;

/** Prints a record {"kind": KIND, "count": COUNT} as the registry's Java serialiser writes it. */
public class Serialise {
    public static void main(String[] arguments) {
        Schema schema = new Schema.Parser().parse(arguments[2]);
        var record =
                new GenericRecordBuilder(schema)
                        .set("kind", arguments[3])
                        .set("count", Integer.parseInt(arguments[4]))
                        .build();
        try (var serializer = new AvroKafkaSerializer<Object>()) {
            serializer.configure(
                    Map.of(
                            "apicurio.registry.url", arguments[0] + "/apis/registry/v2",
                            "apicurio.registry.auto-register", true,
                            "apicurio.registry.as-confluent", true,
                            "apicurio.registry.use-id", "contentId"),
                    false);
            byte[] value = serializer.serialize(arguments[1], record);
            System.out.println(Base64.getEncoder().encodeToString(value));
        }
    }
}
