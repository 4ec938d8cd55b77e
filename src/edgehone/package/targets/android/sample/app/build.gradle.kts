plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

fun setting(name: String): String = providers.gradleProperty(name).get()

val assetPack = setting("modelLayout") == "asset-pack"

android {
    namespace = "edgehone.sample"
    compileSdk = 36

    defaultConfig {
        applicationId = "edgehone.sample"
        minSdk = 28
        targetSdk = 36
        versionCode = 1
        versionName = "1"
        manifestPlaceholders["modelPackage"] = setting("modelPackage")
        buildConfigField("String", "MODEL_PACKAGE", "\"${setting("modelPackage")}\"")
        buildConfigField("String", "MODEL_FOLDER", "\"${setting("modelFolder")}\"")
        buildConfigField("String", "MODEL_PACK", "\"${setting("modelPack")}\"")
        buildConfigField("String", "MODEL_SHA256", "\"${setting("modelSha256")}\"")
        ndk { abiFilters += listOf("arm64-v8a") }
        externalNativeBuild {
            cmake {
                arguments += listOf(
                    "-DLLAMA_CPP_DIR=${providers.gradleProperty("llamaCppDir").orNull ?: error("give -PllamaCppDir=/path/to/llama.cpp")}",
                    "-DANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES=ON",  // libraries for devices with pages of 16 KiB
                )
            }
        }
    }

    sourceSets["main"].java.srcDir("src/main/location")
    buildFeatures { buildConfig = true }
    androidResources { noCompress += "gguf" }
    if (assetPack) {
        assetPacks += ":${setting("modelPack")}"
    }
    externalNativeBuild { cmake { path = file("src/main/cpp/CMakeLists.txt") } }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

kotlin { jvmToolchain(17) }

dependencies {
    // To ship the model inside the app in place of the data package: implementation(files("../../NAME.aar"))
    if (assetPack) {
        implementation("com.google.android.play:asset-delivery:2.3.0")
    }
}
