"""Word lists that several skills share."""

from __future__ import annotations

CATEGORIES: dict[str, list[str]] = {
    "animals": ["cat", "dog", "horse", "cow", "sheep", "lion", "tiger", "bear", "rabbit", "duck", "mouse", "pig", "goat", "wolf", "fox"],
    "fruits": ["apple", "pear", "banana", "cherry", "lemon", "orange", "grape", "plum", "fig", "peach", "melon", "mango"],
    "colours": ["red", "blue", "green", "yellow", "white", "black", "brown", "orange", "pink", "purple", "grey"],
    "vegetables": ["carrot", "potato", "onion", "pea", "bean", "cabbage", "tomato", "spinach", "leek"],
    "countries": ["France", "Italy", "Spain", "Japan", "China", "Germany", "Egypt", "Canada", "Greece", "Norway", "Peru"],
    "drinks": ["water", "tea", "coffee", "milk", "juice", "cocoa", "lemonade"],
    "tools": ["hammer", "saw", "drill", "knife", "axe", "spade", "rake"],
    "clothes": ["shirt", "hat", "coat", "shoe", "sock", "dress", "scarf", "glove"],
    "sports": ["football", "tennis", "golf", "hockey", "rugby", "cricket", "judo"],
    "birds": ["duck", "goose", "owl", "robin", "eagle", "swan", "crow", "hen"],
}
CATEGORIES_ZH: dict[str, list[str]] = {
    "动物": ["猫", "狗", "马", "牛", "羊", "狮子", "老虎", "熊", "兔子", "鸭子"],
    "水果": ["苹果", "梨", "香蕉", "樱桃", "柠檬", "葡萄", "桃子", "西瓜"],
    "颜色": ["红色", "蓝色", "绿色", "黄色", "白色", "黑色", "紫色"],
    "国家": ["法国", "意大利", "西班牙", "日本", "中国", "德国", "埃及"],
    "蔬菜": ["胡萝卜", "土豆", "洋葱", "白菜", "西红柿", "豆角"],
    "饮料": ["水", "茶", "咖啡", "牛奶", "果汁", "可乐"],
    "工具": ["锤子", "锯子", "剪刀", "斧头", "铲子", "刀子"],
    "衣服": ["衬衫", "帽子", "大衣", "裙子", "裤子", "毛衣"],
    "运动": ["足球", "篮球", "网球", "游泳", "跑步", "排球"],
    "鸟": ["鸭子", "鹅", "老鹰", "乌鸦", "燕子", "鸽子"],
}
SPELLED = [
    "house", "stone", "river", "water", "table", "bread", "green", "apple", "horse", "mouse", "light", "night", "happy", "chair", "plant",
    "train", "music", "paper", "tiger", "lemon", "sugar", "cloud", "smile", "beach", "dream", "heart", "world", "money", "glass", "queen",
    "snake", "sheep", "earth", "fruit", "grape", "black", "white", "brown", "round", "small", "book", "tree", "door", "fish", "bird", "milk",
    "cake", "rain", "snow", "moon", "star", "lamp", "ship", "road", "hand", "foot", "nose", "hair", "wolf", "lion", "bear", "duck", "frog",
    "cat", "dog", "sun", "sea", "car", "bus", "hat", "cup", "egg", "ice", "key", "map", "pen", "bag", "box", "fox", "cow", "pig", "bed", "arm",
    "leg", "red", "blue", "garden", "winter", "summer", "spring", "orange", "yellow", "flower", "window", "bridge", "school", "friend",
    "doctor", "letter", "mother", "father", "sister", "dinner", "rabbit",
]  # fmt: skip
NAMES = ["Anna", "Tom", "Mary", "John", "Lucy", "Sam", "Emma", "Peter", "Nina", "Paul", "Rosa", "Leo", "Clara", "Max", "Ida", "Ben"]
NAMES_ZH = ["小明", "小红", "小华", "李雷", "王芳", "小丽", "张伟", "小刚"]
