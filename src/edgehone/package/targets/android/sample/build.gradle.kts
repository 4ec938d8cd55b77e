plugins {
    id("com.android.application") version "8.13.2" apply false
    id("com.android.asset-pack") version "8.13.2" apply false
    id("org.jetbrains.kotlin.android") version "2.3.0" apply false
}
