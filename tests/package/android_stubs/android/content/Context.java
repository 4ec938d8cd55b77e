package android.content;

import android.content.pm.PackageManager;
import android.content.res.AssetManager;

public abstract class Context {
    public static final int MODE_PRIVATE = 0;

    public abstract AssetManager getAssets();
    public abstract PackageManager getPackageManager();
    public abstract String getPackageName();
    public abstract SharedPreferences getSharedPreferences(String name, int mode);
    public abstract Context createPackageContext(String name, int flags) throws PackageManager.NameNotFoundException;
}
