package edgehone.sample

import android.content.Context
import android.os.ParcelFileDescriptor
import com.google.android.play.core.assetpacks.AssetPackManagerFactory
import java.io.File

/** Opens the model in the asset pack. Throws IllegalStateException while Google Play still downloads it. */
fun openModel(context: Context): ModelFile {
    val folder = folder(context)
    val model = File(folder, "model.gguf")
    val descriptor = ParcelFileDescriptor.open(model, ParcelFileDescriptor.MODE_READ_ONLY)
    return ModelFile(descriptor, 0, model.length(), ModelSettings.parse(File(folder, "settings.json").readText()))
}

/** Changes whenever the pack is updated. */
fun modelVersion(context: Context): String = File(folder(context), "model.gguf").lastModified().toString()

private fun folder(context: Context): File {
    val location = AssetPackManagerFactory.getInstance(context).getPackLocation(BuildConfig.MODEL_PACK)
    val assets = checkNotNull(location?.assetsPath()) { "the asset pack is not there yet" }
    return File(assets, BuildConfig.MODEL_FOLDER)
}
