import java.io.FileInputStream;
import java.util.zip.GZIPInputStream;

/** Writes what all members of a gzip file hold. */
class Gunzip {
    public static void main(String[] arguments) throws Exception {
        try (var members = new GZIPInputStream(new FileInputStream(arguments[0]))) {
            members.transferTo(System.out);
        }
        System.out.flush();
    }
}
