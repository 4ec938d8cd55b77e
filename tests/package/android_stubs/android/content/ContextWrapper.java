package android.content;

import android.content.pm.PackageManager;
import android.content.res.AssetManager;

public class ContextWrapper extends Context {
    public native AssetManager getAssets();
    public native PackageManager getPackageManager();
    public native String getPackageName();
    public native SharedPreferences getSharedPreferences(String name, int mode);
    public native Context createPackageContext(String name, int flags) throws PackageManager.NameNotFoundException;
}
