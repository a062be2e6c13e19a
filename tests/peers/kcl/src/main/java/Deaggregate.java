import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.List;
import software.amazon.kinesis.retrieval.AggregatorUtil;
import software.amazon.kinesis.retrieval.KinesisClientRecord;

/**
 * PutRecords entries on stdin, one a line; the user records that a KCL consumer would be handed on stdout.
 * With two arguments, the consumer holds the shard from the first hash key to the second, both inclusive.
 */
public final class Deaggregate {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final BigInteger LAST_HASH_KEY = BigInteger.ONE.shiftLeft(128).subtract(BigInteger.ONE);

    private Deaggregate() {}

    public static void main(String[] arguments) {
        try {
            run(arguments);
        } catch (UsageException error) {
            System.err.println("kcl deaggregate: " + error.getMessage());
            System.exit(2);
        } catch (BadInputException | IOException error) {
            System.err.println("kcl deaggregate: " + error.getMessage());
            System.exit(1);
        }
    }

    private static void run(String[] arguments) throws IOException {
        if (arguments.length != 0 && arguments.length != 2) {
            throw new UsageException("give no arguments, or the first and the last hash key of the shard in decimal");
        }
        String startHashKey = hashKey(arguments.length == 2 ? arguments[0] : "0");
        String endHashKey = hashKey(arguments.length == 2 ? arguments[1] : LAST_HASH_KEY.toString());
        AggregatorUtil aggregatorUtil = new AggregatorUtil();

        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        // System.out by itself would encode by the locale.
        try (PrintWriter output =
                new PrintWriter(new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8)))) {
            int index = 0;
            String line;
            while ((line = input.readLine()) != null) {
                if (line.isBlank()) {
                    continue;
                }
                // One call an entry: KCL gives the user records of a whole batch without saying where one came from.
                List<KinesisClientRecord> records = List.of(record(line, index));
                for (KinesisClientRecord record : aggregatorUtil.deaggregate(records, startHashKey, endHashKey)) {
                    output.print(JSON.writeValueAsString(userRecord(index, record)));
                    output.print('\n');
                }
                index += 1;
            }
        }
    }

    private static KinesisClientRecord record(String line, int index) {
        try {
            JsonNode entry = JSON.readTree(line);
            return KinesisClientRecord.builder()
                    .sequenceNumber(Integer.toString(index))
                    .partitionKey(text(entry, "PartitionKey"))
                    .data(ByteBuffer.wrap(Base64.getDecoder().decode(text(entry, "Data"))))
                    .build();
        } catch (JsonProcessingException error) {
            throw new BadInputException("stdin entry " + index + " is not JSON: " + error.getOriginalMessage());
        } catch (IllegalArgumentException error) {
            throw new BadInputException("stdin entry " + index + ": " + error.getMessage());
        }
    }

    private static String text(JsonNode entry, String name) {
        JsonNode value = entry.get(name);
        if (value == null || !value.isTextual()) {
            throw new IllegalArgumentException("`" + name + "` must be a string");
        }
        return value.textValue();
    }

    private static ObjectNode userRecord(int index, KinesisClientRecord record) {
        byte[] data = new byte[record.data().remaining()];
        record.data().duplicate().get(data);
        ObjectNode line = JSON.createObjectNode();
        line.put("record", index);
        line.put("partition_key", record.partitionKey());
        line.put("explicit_hash_key", record.explicitHashKey());
        line.put("aggregated", record.aggregated());
        line.put("sub_sequence_number", record.aggregated() ? Long.valueOf(record.subSequenceNumber()) : null);
        line.put("data", Base64.getEncoder().encodeToString(data));
        return line;
    }

    private static String hashKey(String decimal) {
        if (!decimal.matches("0|[1-9][0-9]{0,38}") || new BigInteger(decimal).compareTo(LAST_HASH_KEY) > 0) {
            throw new UsageException("`" + decimal + "` is not a decimal hash key from 0 to 2^128-1");
        }
        return decimal;
    }

    private static final class UsageException extends RuntimeException {
        UsageException(String message) {
            super(message);
        }
    }

    private static final class BadInputException extends RuntimeException {
        BadInputException(String message) {
            super(message);
        }
    }
}
