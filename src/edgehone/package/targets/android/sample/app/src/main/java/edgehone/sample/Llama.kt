package edgehone.sample

/** Receives the UTF-8 bytes of generated tokens; generation stops when it returns false. */
fun interface PieceListener {
    fun onPiece(piece: ByteArray): Boolean
}

/** A model that llama.cpp has loaded from an offset of an open file. Use it from one thread at a time, and close it. */
class Llama(file: ModelFile) : AutoCloseable {
    private var handle: Long = file.descriptor.use { descriptor ->
        val settings = file.settings
        Native.load(
            descriptor.fd, file.offset, settings.threads, settings.context, settings.batch, settings.kvCache == "q8_0",
        )
    }

    /** Continues the prompt by up to `count` tokens, greedily. */
    fun generate(prompt: String, count: Int, listener: PieceListener) {
        check(handle != 0L) { "the model is closed" }
        Native.generate(handle, prompt.toByteArray(), count, listener)
    }

    override fun close() {
        if (handle != 0L) {
            Native.release(handle)
            handle = 0L
        }
    }
}

/** The functions of llama_jni.cpp. */
internal object Native {
    init {
        System.loadLibrary("edgehone_sample")
    }

    external fun load(
        descriptor: Int, offset: Long, threads: Int, context: Int, batch: Int, quantized: Boolean,
    ): Long

    external fun generate(handle: Long, prompt: ByteArray, count: Int, listener: PieceListener)

    external fun release(handle: Long)
}
