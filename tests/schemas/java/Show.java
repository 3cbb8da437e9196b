import com.google.protobuf.DescriptorProtos.FileDescriptorProto;
import com.google.protobuf.DescriptorProtos.FileDescriptorSet;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.DynamicMessage;
import com.google.protobuf.util.JsonFormat;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.io.DecoderFactory;

/**
 * Prints binary values as JSON, one a line. Input, with tabs: "avro", schema, value; or "protobuf",
 * file descriptor set, message type, value; all but the first in base64.
 */
public class Show {
    public static void main(String[] arguments) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] parts = line.split("\t", -1);
            byte[][] data = new byte[parts.length][];
            for (int at = 1; at < parts.length; at++) {
                data[at] = Base64.getDecoder().decode(parts[at]);
            }
            System.out.println(parts[0].equals("avro") ? avro(data) : protobuf(data));
        }
    }

    private static String avro(byte[][] data) throws Exception {
        Schema schema = new Schema.Parser().parse(new String(data[1], StandardCharsets.UTF_8));
        GenericData model = new GenericData();
        model.addLogicalTypeConversion(new Conversions.DecimalConversion());
        model.addLogicalTypeConversion(new Conversions.UUIDConversion());
        model.addLogicalTypeConversion(new TimeConversions.DateConversion());
        model.addLogicalTypeConversion(new TimeConversions.TimeMillisConversion());
        model.addLogicalTypeConversion(new TimeConversions.TimeMicrosConversion());
        model.addLogicalTypeConversion(new TimeConversions.TimestampMillisConversion());
        model.addLogicalTypeConversion(new TimeConversions.TimestampMicrosConversion());
        model.addLogicalTypeConversion(new TimeConversions.TimestampNanosConversion());
        model.addLogicalTypeConversion(new TimeConversions.LocalTimestampMillisConversion());
        model.addLogicalTypeConversion(new TimeConversions.LocalTimestampMicrosConversion());
        model.addLogicalTypeConversion(new TimeConversions.LocalTimestampNanosConversion());
        var reader = new GenericDatumReader<Object>(schema, schema, model);
        var decoder = DecoderFactory.get().binaryDecoder(data[2], null);
        return model.toString(reader.read(null, decoder));
    }

    private static String protobuf(byte[][] data) throws Exception {
        Map<String, FileDescriptor> files = new HashMap<>();
        Descriptor type = null;
        String name = new String(data[2], StandardCharsets.UTF_8);
        for (FileDescriptorProto file : FileDescriptorSet.parseFrom(data[1]).getFileList()) {
            List<FileDescriptor> imports = new ArrayList<>();
            for (String each : file.getDependencyList()) {
                imports.add(files.get(each));
            }
            FileDescriptor built = FileDescriptor.buildFrom(file, imports.toArray(new FileDescriptor[0]));
            files.put(file.getName(), built);
            for (Descriptor each : built.getMessageTypes()) {
                if (each.getFullName().equals(name)) {
                    type = each;
                }
            }
        }
        var types = JsonFormat.TypeRegistry.newBuilder().add(type).build();
        return JsonFormat.printer()
                .usingTypeRegistry(types)
                .alwaysPrintFieldsWithNoPresence()
                .omittingInsignificantWhitespace()
                .print(DynamicMessage.parseFrom(type, data[3]));
    }
}
