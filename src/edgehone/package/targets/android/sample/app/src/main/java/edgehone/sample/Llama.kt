package edgehone.sample

/** Receives the UTF-8 bytes of generated tokens; generation stops when it returns false. */
fun interface PieceListener {
    fun onPiece(piece: ByteArray): Boolean
}

/** A model that llama.cpp has loaded from an offset of an open file. Use it from one thread at a time, and close it. */
class Llama(file: ModelFile) : AutoCloseable {
    private var handle = file.descriptor.use { descriptor ->
        open(
            descriptor.fd, file.offset, file.settings.threads,
            file.settings.context, file.settings.batch, file.settings.kvCache == "q8_0",
        )
    }

    /** Continues the prompt by up to `count` tokens, greedily. */
    fun generate(prompt: String, count: Int, listener: PieceListener) {
        check(handle != 0L) { "the model is closed" }
        generate(handle, prompt.toByteArray(), count, listener)
    }

    override fun close() {
        if (handle != 0L) {
            close(handle)
            handle = 0L
        }
    }

    private companion object {
        init {
            System.loadLibrary("edgehone_sample")
        }

        @JvmStatic
        external fun open(
            descriptor: Int, offset: Long, threads: Int, context: Int, batch: Int, quantized: Boolean,
        ): Long

        @JvmStatic
        external fun generate(handle: Long, prompt: ByteArray, count: Int, listener: PieceListener)

        @JvmStatic
        external fun close(handle: Long)
    }
}
