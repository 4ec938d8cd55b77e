package edgehone.sample

import android.content.Context
import android.content.pm.PackageManager

/** Opens the model in the data package or, if that is not installed, in this app's own assets (the AAR). */
fun openModel(context: Context): ModelFile {
    val assets = owner(context).assets
    val settings = assets.open("${BuildConfig.MODEL_FOLDER}/settings.json").use { it.readBytes().decodeToString() }
    // Works for uncompressed assets only, as those of the packages are.
    val asset = assets.openFd("${BuildConfig.MODEL_FOLDER}/model.gguf")
    return ModelFile(
        asset.parcelFileDescriptor, asset.startOffset, asset.length, ModelSettings.parse(settings),
    )
}

/** Changes whenever the package with the model is updated. */
fun modelVersion(context: Context): String {
    val owner = owner(context)
    return owner.packageManager.getPackageInfo(owner.packageName, 0).lastUpdateTime.toString()
}

private fun owner(context: Context): Context = try {
    context.createPackageContext(BuildConfig.MODEL_PACKAGE, 0)
} catch (missing: PackageManager.NameNotFoundException) {
    context
}
