import com.pixelmed.validate.DicomSRValidator;

/** Validates every file that is named, in one process: compiling PixelMed's rules takes longer than using them. */
public class PixelMedBatch {
    public static void main(String[] files) throws Exception {
        DicomSRValidator validator = new DicomSRValidator();
        for (String file : files) {
            System.out.println("=== " + file);
            System.out.println(validator.validate(file));
        }
    }
}
