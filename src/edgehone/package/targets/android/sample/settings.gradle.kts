pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}

dependencyResolutionManagement {
    repositories {
        google()
        mavenCentral()
    }
}

rootProject.name = "edgehone-sample"
include(":app")

// The asset pack lies beside the sample.
if (providers.gradleProperty("modelLayout").get() == "asset-pack") {
    val pack = providers.gradleProperty("modelPack").get()
    include(":$pack")
    project(":$pack").projectDir = file("../$pack")
}
