package android.content.res;

import android.os.ParcelFileDescriptor;

public class AssetFileDescriptor {
    public native ParcelFileDescriptor getParcelFileDescriptor();
    public native long getStartOffset();
    public native long getLength();
}
