package edgehone.sample

import android.os.ParcelFileDescriptor
import java.io.FileInputStream
import java.security.MessageDigest
import org.json.JSONObject

/** What settings.json beside the model says: tokens in the KV cache, its type, tokens that are read at once, and threads. */
data class ModelSettings(val context: Int, val kvCache: String, val batch: Int, val threads: Int) {
    companion object {
        fun parse(text: String): ModelSettings {
            val json = JSONObject(text)
            val cores = Runtime.getRuntime().availableProcessors()
            val threads = if (json.getString("threads") == "big") bigCores() else cores
            return ModelSettings(json.getInt("context"), json.getString("kv_cache"), json.getInt("batch"), threads)
        }
    }
}

/** A model where it lies: `length` bytes from `offset` on of an open file. */
data class ModelFile(
    val descriptor: ParcelFileDescriptor,
    val offset: Long,
    val length: Long,
    val settings: ModelSettings,
) {
    /** The SHA-256 of the model. Reading it takes about a second for each gigabyte. */
    fun sha256(): String {
        val digest = MessageDigest.getInstance("SHA-256")
        val block = ByteArray(1 shl 20)
        // The stream is not closed: that would close the descriptor.
        val channel = FileInputStream(descriptor.fileDescriptor).channel
        channel.position(offset)
        var left = length
        while (left > 0) {
            val buffer = java.nio.ByteBuffer.wrap(block, 0, minOf(left, block.size.toLong()).toInt())
            val count = channel.read(buffer)
            check(count > 0) { "the model ends early" }
            digest.update(block, 0, count)
            left -= count
        }
        return digest.digest().joinToString("") { "%02x".format(it) }
    }
}
