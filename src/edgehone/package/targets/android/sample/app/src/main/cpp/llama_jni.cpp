// What Llama.kt calls: a model with one context, loaded from an offset of an open file, and greedy generation.

#include <jni.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "llama.h"

namespace {

// llama.cpp maps a model only if its tensors are aligned to so many bytes in the file.
constexpr int64_t kTensorAlignment = 32;

struct Session {
    FILE * file = nullptr;
    llama_model * model = nullptr;
    llama_context * context = nullptr;
    llama_sampler * sampler = nullptr;
    int32_t batch = 0;
};

void close_session(Session * session) {
    if (session->sampler) llama_sampler_free(session->sampler);
    if (session->context) llama_free(session->context);
    if (session->model) llama_model_free(session->model);
    if (session->file) fclose(session->file);
    delete session;
}

void fail(JNIEnv * env, const char * message) {
    env->ThrowNew(env->FindClass("java/lang/IllegalStateException"), message);
}

// Strings cross as UTF-8 bytes: a token may end in the middle of a character, which a Java string cannot hold.
std::string bytes_of(JNIEnv * env, jbyteArray array) {
    std::string text(env->GetArrayLength(array), '\0');
    env->GetByteArrayRegion(array, 0, static_cast<jsize>(text.size()), reinterpret_cast<jbyte *>(text.data()));
    return text;
}

std::vector<llama_token> tokenize(const llama_vocab * vocab, const std::string & text) {
    std::vector<llama_token> tokens(text.size() + 2);
    const int32_t count = llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), tokens.data(),
                                         static_cast<int32_t>(tokens.size()), true, true);
    tokens.resize(std::max(count, 0));
    return tokens;
}

bool decode(Session * session, std::vector<llama_token> & tokens) {
    for (size_t begin = 0; begin < tokens.size(); begin += session->batch) {
        const auto count = static_cast<int32_t>(std::min<size_t>(session->batch, tokens.size() - begin));
        if (llama_decode(session->context, llama_batch_get_one(tokens.data() + begin, count)) != 0) return false;
    }
    return true;
}

}  // namespace

extern "C" JNIEXPORT jlong JNICALL Java_edgehone_sample_Native_load(
        JNIEnv * env, jobject, jint descriptor, jlong offset, jint threads, jint context, jint batch, jboolean quantized) {
    auto * session = new Session();
    session->batch = batch;
    session->file = fdopen(dup(descriptor), "rb");
    if (!session->file || fseeko(session->file, offset, SEEK_SET) != 0) {
        close_session(session);
        fail(env, "the file of the model cannot be read");
        return 0;
    }
    llama_backend_init();
    llama_model_params model = llama_model_default_params();
    model.load_mode = offset % kTensorAlignment == 0 ? LLAMA_LOAD_MODE_MMAP : LLAMA_LOAD_MODE_NONE;
    model.n_gpu_layers = 0;
    session->model = llama_model_load_from_file_ptr(session->file, model);
    if (session->model) {
        llama_context_params parameters = llama_context_default_params();
        parameters.n_ctx = context;
        parameters.n_batch = batch;
        parameters.n_ubatch = batch;
        parameters.n_threads = threads;
        parameters.n_threads_batch = threads;
        if (quantized) {
            parameters.type_k = GGML_TYPE_Q8_0;
            parameters.type_v = GGML_TYPE_Q8_0;
        }
        session->context = llama_init_from_model(session->model, parameters);
    }
    if (!session->context) {
        close_session(session);
        fail(env, "llama.cpp cannot load the model");
        return 0;
    }
    session->sampler = llama_sampler_init_greedy();
    return reinterpret_cast<jlong>(session);
}

// Continue a prompt by up to `count` tokens. The pieces go to `listener.onPiece(byte[])` until it returns false.
extern "C" JNIEXPORT void JNICALL Java_edgehone_sample_Native_generate(
        JNIEnv * env, jobject, jlong handle, jbyteArray prompt, jint count, jobject listener) {
    auto * session = reinterpret_cast<Session *>(handle);
    const llama_vocab * vocab = llama_model_get_vocab(session->model);
    const jmethodID piece = env->GetMethodID(env->GetObjectClass(listener), "onPiece", "([B)Z");
    std::vector<llama_token> tokens = tokenize(vocab, bytes_of(env, prompt));
    const auto room = static_cast<int32_t>(llama_n_ctx(session->context));
    if (tokens.empty() || static_cast<int32_t>(tokens.size()) >= room) {
        fail(env, "the prompt is empty, or longer than the context");
        return;
    }
    count = std::min(count, room - static_cast<int32_t>(tokens.size()));
    llama_memory_clear(llama_get_memory(session->context), true);
    while (count-- > 0) {
        if (!decode(session, tokens)) {
            fail(env, "llama.cpp cannot compute the next token");
            return;
        }
        const llama_token token = llama_sampler_sample(session->sampler, session->context, -1);
        if (llama_vocab_is_eog(vocab, token)) return;
        tokens.assign(1, token);
        char text[256];
        const int32_t size = llama_token_to_piece(vocab, token, text, sizeof text, 0, false);
        if (size <= 0) continue;
        jbyteArray bytes = env->NewByteArray(size);
        env->SetByteArrayRegion(bytes, 0, size, reinterpret_cast<const jbyte *>(text));
        const bool more = env->CallBooleanMethod(listener, piece, bytes);
        env->DeleteLocalRef(bytes);
        if (!more || env->ExceptionCheck()) return;
    }
}

extern "C" JNIEXPORT void JNICALL Java_edgehone_sample_Native_release(JNIEnv *, jobject, jlong handle) {
    close_session(reinterpret_cast<Session *>(handle));
}
