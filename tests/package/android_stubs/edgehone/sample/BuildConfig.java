package edgehone.sample;

public final class BuildConfig {
    public static final String MODEL_PACKAGE = "", MODEL_FOLDER = "", MODEL_PACK = "", MODEL_SHA256 = "";
}
