plugins {
    id("com.android.asset-pack")
}

assetPack {
    packName.set("$pack")
    dynamicDelivery {
        // The pack is stored as files, which can be memory-mapped. Install-time packs are not.
        deliveryType.set("fast-follow")
    }
}
