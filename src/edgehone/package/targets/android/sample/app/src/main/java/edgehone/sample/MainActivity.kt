package edgehone.sample

import android.app.Activity
import android.os.Bundle
import android.widget.TextView
import java.io.ByteArrayOutputStream
import kotlin.concurrent.thread

/** Generates a text when it starts, and shows it. */
class MainActivity : Activity() {
    @Volatile
    private var stopped = false

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        val view = TextView(this)
        setContentView(view)
        thread {
            val shown = runCatching { generate { text -> runOnUiThread { view.text = text } } }
            shown.onFailure { error -> runOnUiThread { view.text = error.message ?: error.toString() } }
        }
    }

    override fun onDestroy() {
        stopped = true
        super.onDestroy()
    }

    private fun generate(show: (String) -> Unit) {
        val file = openModel(this)
        verify(file)
        Llama(file).use { model ->
            val bytes = ByteArrayOutputStream()
            model.generate("Once upon a time", 64) { piece ->
                bytes.write(piece)
                show(bytes.toString("UTF-8"))
                !stopped
            }
        }
    }

    /** Throws unless the model is the one that this app was built for. The result is kept until the app is updated. */
    private fun verify(file: ModelFile) {
        val known = getSharedPreferences("model", MODE_PRIVATE)
        val version = "${BuildConfig.MODEL_SHA256}@${modelVersion(this)}"
        if (known.getString("verified", null) == version) return
        check(file.sha256() == BuildConfig.MODEL_SHA256) { "the model is not the one that this app was built for" }
        known.edit().putString("verified", version).apply()
    }
}
