package com.google.android.play.core.assetpacks;

import android.content.Context;

public class AssetPackManagerFactory {
    public static native AssetPackManager getInstance(Context context);
}
