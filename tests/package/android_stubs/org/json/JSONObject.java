package org.json;

public class JSONObject {
    public JSONObject(String json) throws JSONException {}
    public native String getString(String name) throws JSONException;
    public native int getInt(String name) throws JSONException;
}
