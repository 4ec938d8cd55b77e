package android.os;

import java.io.Closeable;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileNotFoundException;

public class ParcelFileDescriptor implements Closeable {
    public static final int MODE_READ_ONLY = 0x10000000;

    public static native ParcelFileDescriptor open(File file, int mode) throws FileNotFoundException;
    public native FileDescriptor getFileDescriptor();
    public native int getFd();
    public native void close();
}
