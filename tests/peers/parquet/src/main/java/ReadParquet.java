import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.parquet.ParquetReadOptions;
import org.apache.parquet.column.ColumnDescriptor;
import org.apache.parquet.column.ColumnReader;
import org.apache.parquet.column.impl.ColumnReadStoreImpl;
import org.apache.parquet.column.page.PageReadStore;
import org.apache.parquet.column.statistics.Statistics;
import org.apache.parquet.column.values.bloomfilter.BloomFilter;
import org.apache.parquet.conf.PlainParquetConfiguration;
import org.apache.parquet.example.data.Group;
import org.apache.parquet.example.data.simple.convert.GroupRecordConverter;
import org.apache.parquet.filter2.compat.FilterCompat;
import org.apache.parquet.filter2.predicate.FilterApi;
import org.apache.parquet.filter2.predicate.FilterPredicate;
import org.apache.parquet.hadoop.ParquetFileReader;
import org.apache.parquet.hadoop.metadata.BlockMetaData;
import org.apache.parquet.hadoop.metadata.ColumnChunkMetaData;
import org.apache.parquet.internal.column.columnindex.ColumnIndex;
import org.apache.parquet.internal.column.columnindex.OffsetIndex;
import org.apache.parquet.io.ColumnIOFactory;
import org.apache.parquet.io.LocalInputFile;
import org.apache.parquet.io.MessageColumnIO;
import org.apache.parquet.io.RecordReader;
import org.apache.parquet.io.api.Binary;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.PrimitiveComparator;
import org.apache.parquet.schema.PrimitiveType.PrimitiveTypeName;
import org.apache.parquet.schema.Type;

/**
 * Parquet files as Java reads them: each row as JSON on stdout, in the order of the files. Says on stderr, and ends
 * with 1, what is wrong with statistics, page indexes and Bloom filters, and when a search by them finds too little.
 * The last line on stdout counts what was looked at.
 */
public final class ReadParquet {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final ParquetReadOptions OPTIONS =
            ParquetReadOptions.builder(new PlainParquetConfiguration()).build();

    private final List<String> wrong = new ArrayList<>();
    private long pages;
    private long filters;
    private long probes;
    private long falsePositives;
    private long searches;

    private ReadParquet() {}

    public static void main(String[] paths) throws IOException {
        ReadParquet reader = new ReadParquet();
        try (PrintWriter output =
                new PrintWriter(new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8)))) {
            for (String path : paths) {
                reader.read(Path.of(path), output);
            }
            ObjectNode counts = JSON.createObjectNode();
            counts.put("pages", reader.pages);
            counts.put("filters", reader.filters);
            counts.put("filter_probes", reader.probes);
            counts.put("filter_false_positives", reader.falsePositives);
            counts.put("searches", reader.searches);
            output.print(JSON.writeValueAsString(counts));
            output.print('\n');
        }
        if (!reader.wrong.isEmpty()) {
            System.err.println(String.join("\n", reader.wrong));
            System.exit(1);
        }
    }

    private void read(Path path, PrintWriter output) throws IOException {
        try (ParquetFileReader file = ParquetFileReader.open(new LocalInputFile(path), OPTIONS)) {
            MessageType schema = file.getFooter().getFileMetaData().getSchema();
            MessageColumnIO columns = new ColumnIOFactory().getColumnIO(schema);
            PageReadStore group;
            while ((group = file.readNextRowGroup()) != null) {
                RecordReader<Group> records = columns.getRecordReader(group, new GroupRecordConverter(schema));
                for (long row = 0; row < group.getRowCount(); row++) {
                    output.print(JSON.writeValueAsString(json(records.read())));
                    output.print('\n');
                }
            }
        }
        Map<ColumnDescriptor, Map<Object, Long>> counts = new LinkedHashMap<>();
        try (ParquetFileReader file = ParquetFileReader.open(new LocalInputFile(path), OPTIONS)) {
            for (BlockMetaData block : file.getFooter().getBlocks()) {
                check(path, file, block, file.readNextRowGroup(), counts);
            }
        }
        for (ColumnDescriptor column : counts.keySet()) {
            if (column.getMaxRepetitionLevel() == 0) {
                search(path, column, counts.get(column));
            }
        }
    }

    private static ObjectNode json(Group row) {
        ObjectNode json = JSON.createObjectNode();
        for (Type type : row.getType().getFields()) {
            String name = type.getName();
            if (row.getFieldRepetitionCount(name) == 0) {
                continue;
            }
            if (!type.isPrimitive()) {
                ObjectNode map = json.putObject(name);
                Group pairs = row.getGroup(name, 0);
                for (int index = 0; index < pairs.getFieldRepetitionCount(0); index++) {
                    Group pair = pairs.getGroup(0, index);
                    String key = pair.getString("key", 0);
                    if (map.has(key)) {
                        throw new IllegalStateException(name + " has a name twice: " + key);
                    }
                    map.put(key, pair.getFieldRepetitionCount("value") == 0 ? null : pair.getString("value", 0));
                }
                continue;
            }
            switch (type.asPrimitiveType().getPrimitiveTypeName()) {
                case INT64:
                    json.put(name, row.getLong(name, 0));
                    break;
                case DOUBLE:
                    json.put(name, row.getDouble(name, 0));
                    break;
                default:
                    json.put(name, row.getString(name, 0));
            }
        }
        return json;
    }

    private void check(
            Path path,
            ParquetFileReader file,
            BlockMetaData block,
            PageReadStore group,
            Map<ColumnDescriptor, Map<Object, Long>> counts)
            throws IOException {
        MessageType schema = file.getFooter().getFileMetaData().getSchema();
        ColumnReadStoreImpl readers = new ColumnReadStoreImpl(
                group, new GroupRecordConverter(schema).getRootConverter(), schema, file.getFileMetaData().getCreatedBy());
        for (ColumnChunkMetaData chunk : block.getColumns()) {
            ColumnDescriptor column = schema.getColumnDescription(chunk.getPath().toArray());
            String where = path.getFileName() + ", " + chunk.getPath();
            ColumnIndex columnIndex = file.readColumnIndex(chunk);
            OffsetIndex offsetIndex = file.readOffsetIndex(chunk);
            if (columnIndex == null || offsetIndex == null) {
                wrong.add(where + ": no page index");
                continue;
            }
            Map<Object, Long> values =
                    checkPages(where, block, chunk, column, readers.getColumnReader(column), columnIndex, offsetIndex);
            checkFilter(where, file.readBloomFilter(chunk), values.keySet());
            Map<Object, Long> all = counts.computeIfAbsent(column, any -> new LinkedHashMap<>());
            values.forEach((value, count) -> all.merge(value, count, Long::sum));
        }
    }

    @SuppressWarnings("unchecked")
    private Map<Object, Long> checkPages(
            String where,
            BlockMetaData block,
            ColumnChunkMetaData chunk,
            ColumnDescriptor column,
            ColumnReader reader,
            ColumnIndex columnIndex,
            OffsetIndex offsetIndex) {
        PrimitiveComparator<Object> order = (PrimitiveComparator<Object>) (Object) chunk.getPrimitiveType().comparator();
        Map<Object, Long> values = new LinkedHashMap<>();
        int page = -1;
        long row = -1;
        long nulls = 0;
        long allNulls = 0;
        boolean isEmpty = true;
        Object low = null;
        Object high = null;
        long count = reader.getTotalValueCount();
        for (long at = 0; at <= count; at++) {
            boolean isNewRow = at < count && reader.getCurrentRepetitionLevel() == 0;
            if (isNewRow) {
                row++;
            }
            boolean isNewPage = isNewRow
                    && page + 1 < offsetIndex.getPageCount()
                    && offsetIndex.getFirstRowIndex(page + 1) == row;
            if (isNewPage || at == count) {
                if (page >= 0) {
                    checkPage(where + ", page " + page, columnIndex, page, nulls, isEmpty, low, high, order, column);
                }
                page++;
                nulls = 0;
                isEmpty = true;
                low = null;
                high = null;
            }
            if (at == count) {
                break;
            }
            if (reader.getCurrentDefinitionLevel() < column.getMaxDefinitionLevel()) {
                nulls++;
                allNulls++;
            } else {
                Object value = value(column, reader);
                isEmpty = false;
                low = low == null || order.compare(value, low) < 0 ? value : low;
                high = high == null || order.compare(value, high) > 0 ? value : high;
                values.merge(value, 1L, Long::sum);
            }
            reader.consume();
        }
        if (row + 1 != block.getRowCount() || page != offsetIndex.getPageCount()) {
            wrong.add(where + ": " + (row + 1) + " rows, " + page + " pages");
        }
        Statistics<?> statistics = chunk.getStatistics();
        if (statistics.getNumNulls() != allNulls || statistics.hasNonNullValue() == values.isEmpty()) {
            wrong.add(where + ": " + statistics + " for " + allNulls + " nulls, " + values.size() + " values");
        }
        if (statistics.hasNonNullValue()) {
            for (Object value : values.keySet()) {
                if (order.compare(statistics.genericGetMin(), value) > 0
                        || order.compare(statistics.genericGetMax(), value) < 0) {
                    wrong.add(where + ": " + value + " is out of " + statistics);
                    break;
                }
            }
        }
        return values;
    }

    private static Object value(ColumnDescriptor column, ColumnReader reader) {
        switch (column.getPrimitiveType().getPrimitiveTypeName()) {
            case INT64:
                return reader.getLong();
            case DOUBLE:
                return reader.getDouble();
            default:
                return reader.getBinary().copy();
        }
    }

    private static Object bound(ColumnDescriptor column, ByteBuffer bytes) {
        ByteBuffer number = bytes.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        switch (column.getPrimitiveType().getPrimitiveTypeName()) {
            case INT64:
                return number.getLong();
            case DOUBLE:
                return number.getDouble();
            default:
                return Binary.fromConstantByteBuffer(bytes.duplicate());
        }
    }

    private void checkPage(
            String where,
            ColumnIndex index,
            int page,
            long nulls,
            boolean isEmpty,
            Object low,
            Object high,
            PrimitiveComparator<Object> order,
            ColumnDescriptor column) {
        pages++;
        if (index.getNullPages().get(page) != isEmpty || index.getNullCounts().get(page) != nulls) {
            wrong.add(where + ": not " + nulls + " nulls");
        }
        if (isEmpty) {
            return;
        }
        Object min = bound(column, index.getMinValues().get(page));
        Object max = bound(column, index.getMaxValues().get(page));
        if (order.compare(min, low) > 0 || order.compare(max, high) < 0) {
            wrong.add(where + ": " + low + " to " + high + " is out of " + min + " to " + max);
        }
        boolean isText = column.getPrimitiveType().getPrimitiveTypeName() == PrimitiveTypeName.BINARY;
        boolean isExact = order.compare(min, low) == 0 && order.compare(max, high) == 0;
        if (!isExact && !(isText && (((Binary) low).length() > 64 || ((Binary) high).length() > 64))) {
            wrong.add(where + ": bounds " + min + " to " + max + " are not " + low + " to " + high);
        }
    }

    private void checkFilter(String where, BloomFilter filter, Set<Object> values) {
        if (filter == null) {
            return;
        }
        filters++;
        for (Object value : values) {
            if (!filter.findHash(filter.hash((Binary) value))) {
                wrong.add(where + ": the Bloom filter does not have " + value);
                return;
            }
        }
        for (int number = 0; number < 20_000; number++) {
            Binary absent = Binary.fromString("nobody has this value " + number);
            probes++;
            falsePositives += filter.findHash(filter.hash(absent)) ? 1 : 0;
        }
    }

    /** Looks for a few values by statistics, dictionaries, filters and page indexes: no row may be left out. */
    private void search(Path path, ColumnDescriptor column, Map<Object, Long> counts) throws IOException {
        List<Object> values = new ArrayList<>(counts.keySet());
        for (int part = 0; part < 3 && part < values.size(); part++) {
            Object value = values.get((values.size() - 1) * part / 2);
            FilterCompat.Filter filter = FilterCompat.get(is(column, value));
            ParquetReadOptions options = ParquetReadOptions.builder(new PlainParquetConfiguration())
                    .withRecordFilter(filter)
                    .useStatsFilter()
                    .useDictionaryFilter()
                    .useBloomFilter()
                    .useColumnIndexFilter()
                    .build();
            long found = 0;
            try (ParquetFileReader file = ParquetFileReader.open(new LocalInputFile(path), options)) {
                MessageType whole = file.getFooter().getFileMetaData().getSchema();
                MessageType schema = new MessageType(whole.getName(), whole.getType(column.getPath()[0]));
                file.setRequestedSchema(schema);
                MessageColumnIO columns = new ColumnIOFactory().getColumnIO(schema);
                PageReadStore group;
                while ((group = file.readNextFilteredRowGroup()) != null) {
                    RecordReader<Group> records =
                            columns.getRecordReader(group, new GroupRecordConverter(schema), filter);
                    for (long row = 0; row < group.getRowCount(); row++) {
                        Group record = records.read();
                        found += record == null || records.shouldSkipCurrentRecord() ? 0 : 1;
                    }
                }
            }
            searches++;
            if (found != counts.get(value)) {
                wrong.add(path.getFileName() + ", " + column + ": " + found + " of " + counts.get(value) + " rows with "
                        + value);
            }
        }
    }

    private static FilterPredicate is(ColumnDescriptor column, Object value) {
        String path = String.join(".", column.getPath());
        if (value instanceof Long) {
            return FilterApi.eq(FilterApi.longColumn(path), (Long) value);
        }
        if (value instanceof Double) {
            return FilterApi.eq(FilterApi.doubleColumn(path), (Double) value);
        }
        return FilterApi.eq(FilterApi.binaryColumn(path), (Binary) value);
    }
}
